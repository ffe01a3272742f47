// C (M, N) = or += op(A) (M, K) op(B) (K, N), dense, batched, and grouped by expert, on the plain cores: fp32, and bf16 of any shape. A block owns a tile of C, a thread 4 x 4 of it;
// each output is one fma chain over k in order, which starts from C when it adds: the bits of the CPU's. bf16 whose lines are aligned goes to the tensor cores (gemm_mma.cuh), a few rows
// over a long sum to gemm_thin.cuh.
#pragma once
#include "elementwise.cuh"
#include "gemm_mma.cuh"
#include "gemm_thin.cuh"
#include "gemm_wgmma.cuh"
#include "grouped_gemm_wgmma.cuh"

namespace bam::cuda {

inline constexpr int gemm_tile = 64, gemm_depth = 16, gemm_threads = 256;
struct GemmShared {
  float a[gemm_depth][gemm_tile], b[gemm_depth][gemm_tile + 4];  // + 4: the store of a transposed tile meets no bank twice
};

// Element (i, k) of an operand: line i, or, where lines run along k, line k. Lines may be chosen by an index.
template <class T>
struct Operand {
  const T* p;
  std::int64_t ld;
  const std::int64_t* index;
  bool along_k;
  BAM_DEVICE float at(std::int64_t i, std::int64_t k) const {
    const std::int64_t line = along_k ? k : i, column = along_k ? i : k;
    return value(p[(index ? index[line] : line) * ld + column]);
  }
};
template <class T, class Out>
struct Product {
  std::int64_t rows, columns, k;
  Operand<T> a, b;  // a (rows, k), b (columns, k)
  Out* c;
  std::int64_t ldc;
  bool add;
  const Out* from;  // what is added to
};

// The tile of C that begins at (row, column); reached by the whole block.
template <class T, class Out>
BAM_DEVICE void gemm_block(const Product<T, Out>& s, std::int64_t row, std::int64_t column) {
  GemmShared& m = *shared<GemmShared>();
  const int t = thread(), i0 = t / 16 * 4, j0 = t % 16 * 4;
  float c[4][4];
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) c[i][j] = s.add && row + i0 + i < s.rows && column + j0 + j < s.columns ? value(s.from[(row + i0 + i) * s.ldc + column + j0 + j]) : 0.0f;
  for (std::int64_t k0 = 0; k0 < s.k; k0 += gemm_depth) {
    for (int n = t; n < gemm_tile * gemm_depth; n += gemm_threads) {
      // Neighbours in memory by neighbouring threads.
      const int ai = s.a.along_k ? n % gemm_tile : n / gemm_depth, ak = s.a.along_k ? n / gemm_tile : n % gemm_depth;
      const int bi = s.b.along_k ? n % gemm_tile : n / gemm_depth, bk = s.b.along_k ? n / gemm_tile : n % gemm_depth;
      m.a[ak][ai] = row + ai < s.rows && k0 + ak < s.k ? s.a.at(row + ai, k0 + ak) : 0.0f;
      m.b[bk][bi] = column + bi < s.columns && k0 + bk < s.k ? s.b.at(column + bi, k0 + bk) : 0.0f;
    }
    sync();
    const int depth = static_cast<int>(smaller(gemm_depth, s.k - k0));  // a product with 0 would turn -0 into 0
    for (int k = 0; k < depth; ++k)
      for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) c[i][j] = math::fma(m.a[k][i0 + i], m.b[k][j0 + j], c[i][j]);
    sync();
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j)
      if (row + i0 + i < s.rows && column + j0 + j < s.columns) set(s.c[(row + i0 + i) * s.ldc + column + j0 + j], c[i][j]);
}

template <class T, class Out>
struct GemmKernel {
  static constexpr std::int64_t shared_bytes = sizeof(GemmShared);
  GemmArgs s;
  std::int64_t row_tiles, column_tiles;
  BAM_DEVICE void operator()() const {
    const std::int64_t tile = block() % (row_tiles * column_tiles), n = block() / (row_tiles * column_tiles);
    const Product<T, Out> p{s.M, s.N, s.K, {static_cast<const T*>(s.A) + n * s.batch_a, s.lda, nullptr, s.transpose_a}, {static_cast<const T*>(s.B) + n * s.batch_b, s.ldb, nullptr, !s.transpose_b},
                            static_cast<Out*>(s.C) + n * s.batch_c, s.ldc, s.write == Write::add, static_cast<const Out*>(s.from ? s.from : s.C) + n * s.batch_c};
    gemm_block(p, tile / column_tiles * gemm_tile, tile % column_tiles * gemm_tile);
  }
};
inline void gemm(const Exec& exec, const GemmArgs& s) {
  const bool narrow = s.out == DType::bf16, thin = !portable() && thin_takes(s), is_short = short_takes(s);
  const bool by_mma = !portable() && mma_takes(s), by_library = by_mma && s.M > 0 && s.N > 0 && s.K > 0 && library_wanted(), by_wgmma = by_warpgroups() && wgmma_takes(s) && !by_library;
  if (s.turn.positions && !(s.dtype == DType::bf16 && !is_short && !thin && !by_library && (by_wgmma || by_mma) && turns_in_kernel(s))) {
    GemmArgs plain = s;
    plain.turn = {};
    gemm(exec, plain);
    return rope(exec, rope_args(s.turn, s.out, s.M, s.turned_heads, s.C, s.ldc, false));
  }
  if (s.from && s.write == Write::add && (is_short || thin)) {  // which add to C alone
    CopyArgs before{.dtype = s.out, .rank = 2, .shape = {s.M, s.N}, .x_stride = {s.ldc, 1}, .y_stride = {s.ldc, 1}, .x = s.from, .y = s.C};
    copy(exec, before);
    GemmArgs plain = s;
    plain.from = nullptr;
    return gemm(exec, plain);
  }
  const std::int64_t row_tiles = ceil_div(s.M, gemm_tile), column_tiles = ceil_div(s.N, gemm_tile);
  auto tiled = [&](auto kernel) {
    kernel.s = s;
    kernel.row_tiles = row_tiles;
    kernel.column_tiles = column_tiles;
    launch(exec, {s.batch * row_tiles * column_tiles, gemm_threads}, kernel);
  };
  if (s.dtype == DType::f32) return is_short ? gemm_short<float, float>(exec, s) : thin ? gemm_thin<float, float>(exec, s) : tiled(GemmKernel<float, float>{});
  if (is_short) return narrow ? gemm_short<Bf16, Bf16>(exec, s) : gemm_short<Bf16, float>(exec, s);
  if (thin) return narrow ? gemm_thin<Bf16, Bf16>(exec, s) : gemm_thin<Bf16, float>(exec, s);
  if (by_library) return library_gemm(exec, s);
  if (by_wgmma) return narrow ? gemm_wgmma<Bf16>(exec, s) : gemm_wgmma<float>(exec, s);
  if (by_mma) return narrow ? gemm_mma<Bf16>(exec, s) : gemm_mma<float>(exec, s);
  narrow ? tiled(GemmKernel<Bf16, Bf16>{}) : tiled(GemmKernel<Bf16, float>{});
}

inline void gemm_pair(const Exec& exec, const GemmPairArgs& s) {
  auto takes = [](const GemmArgs& g) { return g.dtype == DType::bf16 && mma_takes(g) && !short_takes(g) && !thin_takes(g); };
  const bool narrow = s.first.out == DType::bf16, fast = takes(s.first) && takes(s.second) && !portable() && !library_wanted() && pair_in_kernel(s);
  if (fast && by_warpgroups() && wgmma_takes(s.first) && wgmma_takes(s.second)) return narrow ? gemm_wgmma<Bf16>(exec, s.first, &s.second) : gemm_wgmma<float>(exec, s.first, &s.second);
  if (fast) return narrow ? gemm_mma<Bf16>(exec, s.first, &s.second) : gemm_mma<float>(exec, s.first, &s.second);
  gemm(exec, s.first);
  gemm(exec, s.second);
}

// As MmaGroupedKernel.
template <class T, class Out>
struct GroupedGemmKernel {
  static constexpr std::int64_t shared_bytes = sizeof(GemmShared);
  GroupedGemmArgs s;
  BAM_DEVICE void operator()() const {
    std::int64_t from = 0, before = 0;
    for (std::int64_t tile = block();; tile += grid_blocks()) {
      const GroupedTile t = grouped_tile(s, tile, gemm_tile, from, before);
      if (!t.on) return;  // by all threads of the block
      Product<T, Out> p;
      p.columns = s.N;
      p.ldc = s.ldc;
      p.add = s.write == Write::add;
      // Without an index, lines are counted from the expert's first row.
      p.a = {static_cast<const T*>(s.A) + (s.a_index ? 0 : t.begin * s.lda), s.lda, s.a_index ? s.a_index + t.begin : nullptr, s.weights};
      if (s.weights) {
        p.rows = s.M;
        p.k = t.rows;
        p.b = {static_cast<const T*>(s.B) + (s.b_index ? 0 : t.begin * s.ldb), s.ldb, s.b_index ? s.b_index + t.begin : nullptr, true};
        p.c = static_cast<Out*>(s.C) + t.expert * s.expert_stride;
      } else {
        p.rows = t.rows;
        p.k = s.K;
        p.b = {static_cast<const T*>(s.B) + t.expert * s.expert_stride, s.ldb, nullptr, !s.transpose_b};
        p.c = static_cast<Out*>(s.C) + t.begin * s.ldc;
      }
      p.from = p.c;
      gemm_block(p, t.row, t.column);
    }
  }
};
inline void grouped_gemm(const Exec& exec, const GroupedGemmArgs& s) {
  const bool narrow = s.out == DType::bf16, by_mma = s.dtype == DType::bf16 && !portable() && grouped_mma_takes(s);
  if ((s.swiglu.y || s.swiglu.dx) && !(by_mma && gates_in_kernel(s))) {
    GroupedGemmArgs plain = s;
    plain.swiglu = {};
    grouped_gemm(exec, plain);
    return s.swiglu.y ? swiglu_forward(exec, s.swiglu) : swiglu_backward(exec, s.swiglu);
  }
  if (s.experts <= 0 || s.N <= 0 || (s.weights && s.M <= 0)) return;
  const Grid grid{4 * multiprocessors(), gemm_threads};
  if (s.dtype == DType::f32) return launch(exec, grid, GroupedGemmKernel<float, float>{s});
  if (by_mma && by_warpgroups() && grouped_wgmma_takes(s)) return narrow ? grouped_gemm_wgmma<Bf16>(exec, s) : grouped_gemm_wgmma<float>(exec, s);
  if (by_mma) return narrow ? grouped_gemm_mma<Bf16>(exec, s) : grouped_gemm_mma<float>(exec, s);
  narrow ? launch(exec, grid, GroupedGemmKernel<Bf16, Bf16>{s}) : launch(exec, grid, GroupedGemmKernel<Bf16, float>{s});
}

}  // namespace bam::cuda
