// A kernel called through its args struct, without tensors: C += A B^T on memory of your own.
#include <bam/cpu/backend.hpp>
#include <bam/cpu/parallel.hpp>

#include <cstdio>
#include <vector>

int main() {
  constexpr std::int64_t M = 37, N = 53, K = 101;
  std::vector<float> a(M * K), b(N * K), c(M * N, 1.0f);
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<float>(i % 13) - 6;
  for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<float>(i % 7) - 3;

  bam::GemmArgs args;
  args.write = bam::Write::add;
  args.transpose_b = true;
  args.M = M;
  args.N = N;
  args.K = K;
  args.A = a.data();
  args.lda = K;
  args.B = b.data();
  args.ldb = K;
  args.C = c.data();
  args.ldc = N;
  bam::cpu::ThreadPool pool(2);
  bam::cpu::table().gemm(pool.exec(), args);

  for (std::size_t i = 0; i < M; ++i)
    for (std::size_t j = 0; j < N; ++j) {
      float want = 1;
      for (std::size_t k = 0; k < K; ++k) want += a[i * K + k] * b[j * K + k];
      if (want != c[i * N + j]) {  // small integers: exact
        std::printf("C(%zu, %zu) is %g, wanted %g\n", i, j, static_cast<double>(c[i * N + j]), static_cast<double>(want));
        return 1;
      }
    }
  std::printf("C += A B^T on %s: right\n", bam::cpu::name_of(bam::cpu::isa()));
  return 0;
}
