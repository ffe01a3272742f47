// The products of a router's gradients, which tiles do badly. C (M, N) = or += A^T B with at most 16 rows and a long sum, A (K, M), B (K, N), of its weights: one tile's walk over K would leave
// most of the device idle, so K is cut into chains whose sums a second kernel adds in their order; reads B once; the bits depend on the shape alone. And C = or += A B with sums of at most 16 terms, of
// its input: eight columns of a line a thread, in the order and with the bits of the CPU.
#pragma once
#include "device.cuh"

namespace bam::cuda {

inline constexpr int thin_rows = 16, thin_threads = 128, thin_columns = 4, thin_depth = 64;  // columns of a thread; lines of A in shared memory
inline constexpr std::int64_t thin_chain = 256, thin_chains = 64;                            // at least so long, at most so many
inline std::int64_t thin_chain_of(std::int64_t K) { return K > thin_chain * thin_chains ? ceil_div(K, thin_chains) : thin_chain; }

// rows: M or more.
template <int rows, class T>
struct ThinChainKernel {
  static constexpr std::int64_t shared_bytes = std::int64_t{thin_depth} * rows * sizeof(float);
  GemmArgs s;
  std::int64_t chain, column_tiles;
  float* part;  // (chains, M, N)
  BAM_DEVICE void operator()() const {
    float(*const a)[rows] = shared<float[rows]>();
    const std::int64_t number = block() / column_tiles, first = block() % column_tiles * thin_threads * thin_columns + thread();
    const std::int64_t begin = number * chain, end = smaller(s.K, begin + chain);
    const T *A = static_cast<const T*>(s.A), *B = static_cast<const T*>(s.B);
    float sums[rows][thin_columns] = {};
    for (std::int64_t k0 = begin; k0 < end; k0 += thin_depth) {
      for (int n = thread(); n < thin_depth * rows; n += thin_threads) {
        const std::int64_t k = k0 + n / rows, m = n % rows;
        a[n / rows][m] = k < end && m < s.M ? value(A[k * s.lda + m]) : 0.0f;
      }
      sync();
      const int depth = static_cast<int>(smaller(thin_depth, end - k0));
      for (int k = 0; k < depth; ++k) {
        BAM_UNROLL
        for (int v = 0; v < thin_columns; ++v) {
          const std::int64_t column = first + v * thin_threads;
          const float b = column < s.N ? value(B[(k0 + k) * s.ldb + column]) : 0.0f;
          BAM_UNROLL
          for (int m = 0; m < rows; ++m) sums[m][v] = math::fma(a[k][m], b, sums[m][v]);
        }
      }
      sync();
    }
    BAM_UNROLL
    for (int m = 0; m < rows; ++m)
      BAM_UNROLL
      for (int v = 0; v < thin_columns; ++v) {
        const std::int64_t column = first + v * thin_threads;
        if (m < s.M && column < s.N) part[(number * s.M + m) * s.N + column] = sums[m][v];
      }
  }
};
template <class Out>
struct ThinSumKernel {
  GemmArgs s;
  std::int64_t chains;
  const float* part;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index();
    if (i >= s.M * s.N) return;
    Out& to = static_cast<Out*>(s.C)[i / s.N * s.ldc + i % s.N];
    float total = s.write == Write::add ? value(to) : 0.0f;
    for (std::int64_t c = 0; c < chains; ++c) total += part[c * s.M * s.N + i];
    set(to, total);
  }
};

inline bool thin_takes(const GemmArgs& s) { return s.batch == 1 && s.transpose_a && !s.transpose_b && s.M > 0 && s.M <= thin_rows && s.N > 0 && s.K > thin_chain; }

template <class T, class Out>
void gemm_thin(const Exec& exec, const GemmArgs& s) {
  const std::int64_t chain = thin_chain_of(s.K), chains = ceil_div(s.K, chain), column_tiles = ceil_div(s.N, thin_threads * thin_columns);
  auto* part = static_cast<float*>(exec.scratch(exec.pool, exec.workers, static_cast<std::size_t>(chains * s.M * s.N) * sizeof(float)));
  auto run = [&](auto rows) {
    constexpr int n = decltype(rows)::value;
    launch(exec, {chains * column_tiles, thin_threads}, ThinChainKernel<n, T>{s, chain, column_tiles, part});
  };
  if (s.M <= 4) run(std::integral_constant<int, 4>{});
  else if (s.M <= 8) run(std::integral_constant<int, 8>{});
  else run(std::integral_constant<int, thin_rows>{});
  launch(exec, flat_grid(s.M * s.N), ThinSumKernel<Out>{s, chains, part});
}

template <class T, class Out>
struct ShortSumKernel {
  GemmArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t groups = s.N / few, i = flat_index();
    if (i >= s.M * groups) return;
    const std::int64_t row = i / groups, column = i % groups * few;
    const T *a = static_cast<const T*>(s.A) + row * s.lda, *B = static_cast<const T*>(s.B) + column;
    Out* const c = static_cast<Out*>(s.C) + row * s.ldc + column;
    float sum[few] = {};
    if (s.write == Write::add) load_few(c, sum);
    for (std::int64_t k = 0; k < s.K; ++k) {
      const float x = value(a[k]);
      float b[few];
      load_few(B + k * s.ldb, b);
      BAM_UNROLL
      for (int v = 0; v < few; ++v) sum[v] = math::fma(x, b[v], sum[v]);
    }
    store_few(c, sum, false);
  }
};
inline bool short_takes(const GemmArgs& s) { return s.batch == 1 && !s.transpose_a && !s.transpose_b && s.K <= 16 && aligned_lines(s.B, s.ldb, s.N) && aligned_lines(s.C, s.ldc, s.N); }
template <class T, class Out>
void gemm_short(const Exec& exec, const GemmArgs& s) {
  launch(exec, flat_grid(s.M * s.N / few), ShortSumKernel<T, Out>{s});
}

}  // namespace bam::cuda
