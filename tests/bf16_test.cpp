// The GEMM in bf16: one chain of float fmas with the same bits on every instruction set and by the portable CUDA kernels, and on tensor cores, by their emulation, right to rounding, with the same
// bits in all orders of threads and early and late copies, and without a bank conflict.
#include <cstdlib>
#include <vector>

#include "bam/core/bf16.hpp"
#include "reference.hpp"

using namespace bam;
using cuda::emulation::Copies;
using cuda::emulation::Order;

namespace {

struct Problem {
  std::int64_t batch, M, N, K;
  bool ta, tb;
  Write write;
  DType out;
};
std::vector<Bf16> draw(std::int64_t n, Random& random) {
  std::vector<Bf16> v(static_cast<std::size_t>(n) + 8);  // aligned to 16 bytes, as operator new gives; never empty
  for (Bf16& x : v) x = to_bf16(static_cast<float>(math::normal(random)));
  return v;
}
template <class T>
double number(T x) {
  if constexpr (std::is_same_v<T, Bf16>) return static_cast<double>(to_float(x));
  else return static_cast<double>(x);
}

// Out: what C holds.
template <class Out>
double check_gemm(const Problem& z, Random& random, std::int64_t& on_tensor_cores) {
  const std::vector<Bf16> A = draw(z.batch * z.M * z.K, random), B = draw(z.batch * z.K * z.N, random);
  std::vector<Out> start(static_cast<std::size_t>(z.batch * z.M * z.N));
  for (Out& x : start) {
    const auto v = static_cast<float>(math::normal(random));
    if constexpr (std::is_same_v<Out, Bf16>) x = to_bf16(v);
    else x = v;
  }
  GemmArgs s;
  s.dtype = DType::bf16;
  s.out = z.out;
  s.write = z.write;
  s.transpose_a = z.ta;
  s.transpose_b = z.tb;
  s.batch = z.batch, s.M = z.M, s.N = z.N, s.K = z.K;
  s.A = A.data(), s.lda = z.ta ? z.M : z.K, s.batch_a = z.M * z.K;
  s.B = B.data(), s.ldb = z.tb ? z.K : z.N, s.batch_b = z.K * z.N;
  s.ldc = z.N, s.batch_c = z.M * z.N;
  std::vector<Out> C;
  auto compute = [&] {
    C = start;
    s.C = C.data();
    kernel::gemm(s);
  };
  auto same = [](const std::vector<Out>& a, const std::vector<Out>& b) { return std::memcmp(a.data(), b.data(), a.size() * sizeof(Out)) == 0; };
  std::vector<double> wanted;
  for (std::int64_t n = 0; n < z.batch; ++n)
    for (std::int64_t i = 0; i < z.M; ++i)
      for (std::int64_t j = 0; j < z.N; ++j) {
        double sum = z.write == Write::add ? number(start[static_cast<std::size_t>((n * z.M + i) * z.N + j)]) : 0;
        for (std::int64_t k = 0; k < z.K; ++k)
          sum += number(A[static_cast<std::size_t>(n * s.batch_a + (z.ta ? k * s.lda + i : i * s.lda + k))]) * number(B[static_cast<std::size_t>(n * s.batch_b + (z.tb ? j * s.ldb + k : k * s.ldb + j))]);
        wanted.push_back(sum);
      }
  auto error = [&] {
    std::vector<double> got;
    for (Out x : C) got.push_back(number(x));
    return reference::error_of(got, wanted);
  };
  const double bound = std::is_same_v<Out, Bf16> ? 0x1p-8 : 2e-6;  // one rounding
  setenv("BAM_CUDA_PATH", "portable", 1);
  std::vector<Out> first;
  reference::everywhere([&] {
    compute();
    if (first.empty()) first = C;
    CHECK(same(C, first));
  });
  unsetenv("BAM_CUDA_PATH");
  double worst = error();
  CHECK(worst < bound);

  if (!reference::emulation_runs) return worst;
  // On the path that the shape chooses: tensor cores where lines are aligned.
  reference::Settings settings;
  kernels() = &cuda::table;
  cuda::emulation::Counts& counts = cuda::emulation::counts();
  std::vector<Out> again;
  for (Copies copies : {Copies::late, Copies::early})
    for (Order order : {Order::forward, Order::backward, Order::random}) {
      cuda::emulation::options().copies = copies;
      cuda::emulation::options().order = order;
      const auto before = counts;
      compute();
      CHECK(counts.bank_conflicts == before.bank_conflicts);
      on_tensor_cores += counts.matrix_loads > before.matrix_loads;
      if (again.empty()) again = C;
      CHECK(same(C, again));
    }
  worst = std::max(worst, error());
  CHECK(worst < bound);
  return worst;
}

}  // namespace

TEST_CASE("bf16: conversions round to nearest, ties to even") {
  CHECK(to_bf16(1.0f).bits == 0x3f80);
  CHECK(to_float({0x3f80}) == 1.0f);
  CHECK(to_bf16(1.0f + 0x1p-8f).bits == 0x3f80);                // halfway, to even
  CHECK(to_bf16(1.0f + 0x1p-8f + 0x1p-20f).bits == 0x3f81);
  CHECK(to_bf16(1.0f + 3 * 0x1p-8f).bits == 0x3f82);            // halfway, to even
  CHECK(to_bf16(-1.0f - 0x1p-7f).bits == 0xbf81);
  CHECK(to_bf16(3.4e38f).bits == 0x7f80);                       // rounds to infinity
  CHECK(to_bf16(__builtin_inff()).bits == 0x7f80);
  CHECK((to_bf16(__builtin_nanf("")).bits & 0x7fff) > 0x7f80);
  CHECK(to_bf16(0x1p-133f).bits == 1);                          // the least subnormal
}

TEST_CASE("bf16: gemm on every instruction set and by the CUDA kernels") {
  Random random(5);
  double worst[2] = {};
  std::int64_t on_tensor_cores = 0, rows = 0;
  using Size = std::array<std::int64_t, 4>;
  for (Size z : {Size{1, 1, 1, 1}, Size{1, 8, 8, 8}, Size{2, 7, 13, 5}, Size{1, 128, 128, 32}, Size{1, 136, 120, 104}, Size{1, 16, 264, 8}, Size{1, 33, 65, 17}, Size{3, 8, 16, 0}, Size{0, 8, 8, 8}})
    for (int mode = 0; mode < 16; ++mode) {
      const Problem p{z[0], z[1], z[2], z[3], (mode & 1) != 0, (mode & 2) != 0, mode & 4 ? Write::add : Write::overwrite, mode & 8 ? DType::bf16 : DType::f32};
      CAPTURE(mode);
      CAPTURE(p.M);
      double& w = worst[mode >> 3];
      w = std::max(w, mode & 8 ? check_gemm<Bf16>(p, random, on_tensor_cores) : check_gemm<float>(p, random, on_tensor_cores));
      ++rows;
    }
  if (reference::emulation_runs) CHECK(on_tensor_cores == 4 * 16 * 6);
  MESSAGE(rows << " rows; worst error " << worst[0] << " into float, " << worst[1] << " into bf16");
}
