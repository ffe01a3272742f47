// C (M, N) = or += op(A) (M, K) op(B) (K, N), dense and grouped by expert, in bf16 with float sums, on tensor cores by mma.sync (sm_80 and later). A block owns 128 x 128 of C and walks over K in steps of 32 through three stages of shared memory, filled by asynchronous copies; a warp
// owns 64 x 32. Shared memory is swizzled in chunks of 16 bytes, so that neither the copies nor ldmatrix meet twice in a bank. Operands are read as they lie: what runs along k, or along the rows of C, is loaded by ldmatrix, or its transpose.
#pragma once
#include <type_traits>

#include "elementwise.cuh"
#include "gemm_store.cuh"
#include "path.cuh"

namespace bam::cuda {

inline constexpr int mma_tile = 128, mma_depth = 32, mma_stages = 3, mma_threads = 256;
inline constexpr int mma_operand_bytes = mma_tile * mma_depth * 2;
inline constexpr std::int64_t mma_shared_bytes = static_cast<std::int64_t>(mma_stages) * 2 * mma_operand_bytes;

// Where chunk `chunk` of line `line` of an operand's tile lies, in bytes. Lines along k: 128 lines of 4 chunks, two lines in the width of all banks. Lines along the rows of C: 32 lines of 16 chunks.
template <bool lines_are_k>
BAM_INLINE int mma_place(int line, int chunk) {
  return lines_are_k ? line * 256 + (chunk ^ (line & 7)) * 16 : line * 64 + (chunk ^ (line >> 1 & 3)) * 16;
}

struct MmaOperand {
  const Bf16* p;
  std::int64_t ld, extent;  // extent: rows of C that it has
  const std::int64_t* index = nullptr;  // of lines
};
// Of the 128 lines of a tile whose operand is gates and ups, one half each and of the same columns: in every 32, which are a warp's, 16 gates come before their ups. Column, of the tile's 64, and half.
BAM_INLINE constexpr int gated_column(int line) { return line / 32 * 16 + line % 16; }
BAM_INLINE constexpr int gated_half(int line) { return line / 16 % 2; }
// Starts the copies of one stage of an operand, 128 rows by `depth` of k, each chunk to place(line, chunk), by the first `threads` of a block. gated: 64 rows, of the `extent` that are gates, and their ups, `extent` further on.
template <bool lines_are_k, int depth, int threads, auto place, bool gated = false>
BAM_DEVICE void copy_lines(unsigned char* to, const MmaOperand& x, std::int64_t row0, std::int64_t k0, std::int64_t K) {
  constexpr int chunks = (lines_are_k ? mma_tile : depth) / 8;  // of a line
  BAM_UNROLL
  for (int i = 0; i < mma_tile * depth / 8 / threads; ++i) {
    const int n = i * threads + thread(), line = n / chunks, chunk = n % chunks;
    const std::int64_t row = row0 + (lines_are_k ? chunk * 8 : gated ? gated_column(line) : line), k = k0 + (lines_are_k ? line : chunk * 8);
    const bool valid = row < x.extent && k < K;
    const std::int64_t at = lines_are_k ? k : gated ? row + gated_half(line) * x.extent : row, from = valid && x.index ? x.index[at] : at;
    copy_async(to + place(line, chunk), valid ? x.p + from * x.ld + (lines_are_k ? row : k) : x.p, valid);
  }
}

struct MmaProduct {
  MmaOperand a, b;
  std::int64_t K;
};
struct MmaSum {  // of two products
  MmaProduct one;
  MmaOperand more_a, more_b;
  std::int64_t more_K;
};
// Of step number `step` of a tile: its operands, and where in them it begins and they end.
struct MmaStep {
  const MmaOperand &a, &b;
  std::int64_t k, K;
};
BAM_DEVICE std::int64_t steps_of(const MmaProduct& s) { return ceil_div(s.K, mma_depth); }
BAM_DEVICE std::int64_t steps_of(const MmaSum& s) { return steps_of(s.one) + ceil_div(s.more_K, mma_depth); }
BAM_DEVICE MmaStep step_of(const MmaProduct& s, std::int64_t step) { return {s.a, s.b, step * mma_depth, s.K}; }
BAM_DEVICE MmaStep step_of(const MmaSum& s, std::int64_t step) {
  const std::int64_t first = steps_of(s.one);
  if (step < first) return step_of(s.one, step);
  return {s.more_a, s.more_b, (step - first) * mma_depth, s.more_K};
}
// The tile of C that begins at (row0, column0), or, where it is gated, at that column of the gates, of a product or a sum; reached by the whole block, which is done with shared memory after its next barrier.
template <bool a_lines_are_k, bool b_lines_are_k, class Work, class Store>
BAM_DEVICE void mma_block(const Work& work, const Store& store, std::int64_t row0, std::int64_t column0) {
  unsigned char* const space = shared<unsigned char>();
  const std::int64_t steps = steps_of(work);
  const int lane = thread() % warp_lanes, warp = thread() / warp_lanes, wm = warp / 4 * 64, wn = warp % 4 * 32;
  auto load = [&](std::int64_t step) {
    if (step < steps) {
      unsigned char* const to = space + step % mma_stages * 2 * mma_operand_bytes;
      const MmaStep s = step_of(work, step);
      copy_lines<a_lines_are_k, mma_depth, mma_threads, mma_place<a_lines_are_k>>(to, s.a, row0, s.k, s.K);
      copy_lines<b_lines_are_k, mma_depth, mma_threads, mma_place<b_lines_are_k>, Store::gated>(to + mma_operand_bytes, s.b, column0, s.k, s.K);
    }
    commit_copies();  // an empty group where there is none, so that waits count alike
  };
  FragmentC sums[4][4] = {};
  for (int stage = 0; stage < mma_stages - 1; ++stage) load(stage);
  for (std::int64_t step = 0; step < steps; ++step) {
    wait_copies<mma_stages - 2>();
    sync();  // all have this stage, and are done with the one before
    load(step + mma_stages - 1);
    sync_warp();  // its branches are behind all lanes
    const unsigned char *ta = space + step % mma_stages * 2 * mma_operand_bytes, *tb = ta + mma_operand_bytes;
    const int matrix = lane / 8, r = lane % 8;
    BAM_UNROLL
    for (int k = 0; k < mma_depth; k += 16) {
      FragmentA fa[4];
      FragmentB fb[4];
      BAM_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int m = wm + i * 16;  // matrices: rows 0 and 8, then the same at k + 8
        load_matrices<a_lines_are_k>(fa[i].r, ta + (a_lines_are_k ? mma_place<true>(k + matrix / 2 * 8 + r, m / 8 + matrix % 2) : mma_place<false>(m + matrix % 2 * 8 + r, k / 8 + matrix / 2)));
      }
      BAM_UNROLL
      for (int j = 0; j < 4; j += 2) {
        const int n = wn + j * 8;  // matrices: k and k + 8, then the same at columns + 8
        std::uint32_t both[4];
        load_matrices<b_lines_are_k>(both, tb + (b_lines_are_k ? mma_place<true>(k + matrix % 2 * 8 + r, n / 8 + matrix / 2) : mma_place<false>(n + matrix / 2 * 8 + r, k / 8 + matrix % 2)));
        fb[j] = {{both[0], both[1]}};
        fb[j + 1] = {{both[2], both[3]}};
      }
      BAM_UNROLL
      for (int i = 0; i < 4; ++i)
        BAM_UNROLL
        for (int j = 0; j < 4; ++j) mma(sums[i][j], fa[i], fb[j]);
    }
  }
  wait_copies<0>();
  BAM_UNROLL
  for (int i = 0; i < 4; ++i) store(sums[i], row0 + wm + i * 16, column0 + (Store::gated ? gated_column(wn) : wn));
}

// The tiles of one product, or of two, one after the other.
struct PairTiles {
  std::int64_t first, all, column_tiles[2];  // how many the first has, and both; in a row of each
  // two: null, or what is a sum with the first and has no tiles of its own, or a product elsewhere.
  static PairTiles of(const GemmArgs& one, const GemmArgs* two, int size) {
    auto rows = [&](const GemmArgs& g) { return ceil_div(g.M, size); };
    auto columns = [&](const GemmArgs& g) { return ceil_div(g.N, size); };
    const std::int64_t first = rows(one) * columns(one);
    return {first, first + (two && two->C != one.C ? rows(*two) * columns(*two) : 0), {columns(one), two ? columns(*two) : 1}};
  }
  struct Tile {
    int product;
    std::int64_t row, column;
  };
  BAM_INLINE Tile at(std::int64_t tile, int size) const {
    const int product = tile >= first;
    const std::int64_t n = product ? tile - first : tile;
    return {product, n / column_tiles[product] * size, n % column_tiles[product] * size};
  }
};
template <bool a_lines_are_k, bool b_lines_are_k, class Work, class Store>
struct MmaGemmKernel {
  static constexpr int most_threads = mma_threads, resident_blocks = 2;
  static constexpr std::int64_t shared_bytes = mma_shared_bytes;
  Work work;
  Store store;
  std::int64_t column_tiles;
  BAM_DEVICE void operator()() const { mma_block<a_lines_are_k, b_lines_are_k>(work, store, block() / column_tiles * mma_tile, block() % column_tiles * mma_tile); }
};
template <bool a_lines_are_k, bool b_lines_are_k, class Store>
struct MmaPairKernel {
  static constexpr int most_threads = mma_threads, resident_blocks = 2;
  static constexpr std::int64_t shared_bytes = mma_shared_bytes;
  MmaProduct products[2];
  Store stores[2];
  PairTiles tiles;
  BAM_DEVICE void operator()() const {
    const PairTiles::Tile t = tiles.at(block(), mma_tile);
    mma_block<a_lines_are_k, b_lines_are_k>(products[t.product], stores[t.product], t.row, t.column);
  }
};

// What the path takes: chunks of 16 bytes lie within lines and are aligned.
inline bool mma_takes(const GemmArgs& s) {
  return s.batch == 1 && aligned_lines(s.A, s.lda, s.transpose_a ? s.M : s.K) && aligned_lines(s.B, s.ldb, s.transpose_b ? s.K : s.N);
}

// Whether the rotation of s can be part of the product's kernel: both operands with their lines along K, as a projection has them.
inline bool turns_in_kernel(const GemmArgs& s) { return TurnPairs::takes(s.turn) && s.out == DType::bf16 && !s.transpose_a && s.transpose_b; }

template <class Out, class Turn = TurnNothing>
StoreProduct<Out, Turn> store_of(const GemmArgs& s, Turn turn = {}) {
  return {static_cast<Out*>(s.C), s.write == Write::add ? static_cast<const Out*>(s.from ? s.from : s.C) : nullptr, s.ldc, s.M, s.N, in_pairs(s), turn};
}
// The second product's beside the first's: none of it is turned.
template <class Out, class Turn>
StoreProduct<Out, Turn> store_beside(const StoreProduct<Out, Turn>& first, const GemmArgs& second) {
  Turn turn = first.turn;
  if constexpr (std::is_same_v<Turn, TurnPairs>) turn.columns = 0;
  return store_of<Out>(second, turn);
}
// f(whether A's lines are k, whether B's are, what becomes of the sums).
template <class Out, class F>
void with_operands(const GemmArgs& s, F f) {
  using Yes = std::true_type;
  using No = std::false_type;
  const auto plain = store_of<Out>(s);
  if (s.transpose_a) s.transpose_b ? f(Yes{}, No{}, plain) : f(Yes{}, Yes{}, plain);
  else if (!s.transpose_b) f(No{}, Yes{}, plain);
  else if (!s.turn.positions) f(No{}, No{}, plain);
  else if constexpr (std::is_same_v<Out, Bf16>) f(No{}, No{}, store_of<Out>(s, TurnPairs{s.turn, s.turned_heads * s.turn.head_dim, false}));
}

// The forms of pairs that have a kernel: sums are a model's last products and the gradient of what they began with, into float; two apart are what a model begins with and gradients, into bf16, and those of weights, into float.
template <class Out>
constexpr bool pair_form(bool sum, bool transpose_a, bool transpose_b) {
  const bool wide = std::is_same_v<Out, float>;
  return sum ? wide && !transpose_a : wide == (transpose_a && !transpose_b) && !(transpose_a && transpose_b);
}
// Whether one launch does the work of both, if the path takes each.
inline bool pair_in_kernel(const GemmPairArgs& p) {
  const GemmArgs &a = p.first, &b = p.second;
  const bool form = a.out == DType::bf16 ? pair_form<Bf16>(p.sum(), a.transpose_a, a.transpose_b) : pair_form<float>(p.sum(), a.transpose_a, a.transpose_b);
  const bool alike = a.dtype == b.dtype && a.out == b.out && a.transpose_a == b.transpose_a && a.transpose_b == b.transpose_b && !b.turn.positions && (!a.turn.positions || turns_in_kernel(a));
  const bool all = a.M > 0 && a.N > 0 && a.K > 0 && b.M > 0 && b.N > 0 && b.K > 0;
  const bool one_sum = !p.sum() || (a.M == b.M && a.N == b.N && a.ldc == b.ldc && b.write == Write::add && (!b.from || b.from == b.C) && !a.turn.positions);
  return form && alike && all && one_sum;
}

// A and B of s are bf16; C is Out. second: of a pair, which pair_in_kernel().
template <class Out>
void gemm_mma(const Exec& exec, const GemmArgs& s, const GemmArgs* second = nullptr) {
  auto operand_a = [](const GemmArgs& g) { return MmaOperand{static_cast<const Bf16*>(g.A), g.lda, g.M}; };
  auto operand_b = [](const GemmArgs& g) { return MmaOperand{static_cast<const Bf16*>(g.B), g.ldb, g.N}; };
  auto product = [&](const GemmArgs& g) { return MmaProduct{operand_a(g), operand_b(g), g.K}; };
  const PairTiles tiles = PairTiles::of(s, second, mma_tile);
  const Grid grid{tiles.all, mma_threads};
  with_operands<Out>(s, [&]<class Store>(auto a_k, auto b_k, const Store& store) {
    constexpr bool a = decltype(a_k)::value, b = decltype(b_k)::value;
    if (!second) return launch(exec, grid, MmaGemmKernel<a, b, MmaProduct, Store>{product(s), store, tiles.column_tiles[0]});
    if constexpr (pair_form<Out>(true, a, !b) && std::is_same_v<Store, StoreProduct<Out>>)
      if (second->C == s.C) return launch(exec, grid, MmaGemmKernel<a, b, MmaSum, Store>{{product(s), operand_a(*second), operand_b(*second), second->K}, store, tiles.column_tiles[0]});
    if constexpr (pair_form<Out>(false, a, !b)) launch(exec, grid, MmaPairKernel<a, b, Store>{{product(s), product(*second)}, {store, store_beside(store, *second)}, tiles});
  });
}

// Grouped: as many blocks as the device runs at once walk over the tiles of all experts, whose offsets are known on the device only.
struct GroupedTile {
  std::int64_t expert, begin, rows, row, column;  // rows: of the expert
  bool on;
};
// Tile number `tile` of all; `from` and `before` go on where the last call, with a smaller number, left off.
BAM_DEVICE GroupedTile grouped_tile(const GroupedGemmArgs& s, std::int64_t tile, int size, std::int64_t& from, std::int64_t& before) {
  const std::int64_t column_tiles = ceil_div(s.N, size);
  for (; from < s.experts; ++from) {
    const std::int64_t begin = s.offsets[from], rows = s.offsets[from + 1] - begin, tiles = ceil_div(s.weights ? s.M : rows, size) * column_tiles;
    if (tile - before < tiles) return {from, begin, rows, (tile - before) / column_tiles * size, (tile - before) % column_tiles * size, true};
    before += tiles;
  }
  return {0, 0, 0, 0, 0, false};
}

// What becomes of the sums of a tile. Its first column is t.column of C; of the gates, where it has their ups too, half of that.
template <bool weights, class Store>
BAM_DEVICE Store grouped_store(const Store& all, const GroupedGemmArgs& s, const GroupedTile& t) {
  if constexpr (weights) return all.moved(t.expert * s.expert_stride, s.M);
  else return all.of_rows(t.begin, t.rows);
}
template <class Store>
BAM_DEVICE std::int64_t grouped_column(const GroupedTile& t) {
  return Store::gated ? t.column / 2 : t.column;
}
template <bool weights, bool b_lines_are_k, class Store>
struct MmaGroupedKernel {
  static constexpr int most_threads = mma_threads, resident_blocks = 2;
  static constexpr std::int64_t shared_bytes = mma_shared_bytes;
  GroupedGemmArgs s;
  Store store;
  BAM_DEVICE void operator()() const {
    std::int64_t from = 0, before = 0;
    for (std::int64_t tile = block();; tile += grid_blocks()) {
      const GroupedTile t = grouped_tile(s, tile, mma_tile, from, before);
      if (!t.on) return;  // by all threads of the block
      MmaProduct p;
      // Without an index, lines are counted from the expert's first row.
      p.a = {static_cast<const Bf16*>(s.A) + (s.a_index ? 0 : t.begin * s.lda), s.lda, weights ? s.M : t.rows, s.a_index ? s.a_index + t.begin : nullptr};
      if (weights) {
        p.b = {static_cast<const Bf16*>(s.B) + (s.b_index ? 0 : t.begin * s.ldb), s.ldb, s.N, s.b_index ? s.b_index + t.begin : nullptr};
        p.K = t.rows;
      } else {
        p.b = {static_cast<const Bf16*>(s.B) + t.expert * s.expert_stride, s.ldb, Store::gated ? s.N / 2 : s.N, nullptr};
        p.K = s.K;
      }
      mma_block<weights, b_lines_are_k>(p, grouped_store<weights>(store, s, t), t.row, grouped_column<Store>(t));
      sync();
    }
  }
};
inline bool grouped_mma_takes(const GroupedGemmArgs& s) {
  return aligned_lines(s.A, s.lda, s.weights ? s.M : s.K) && aligned_lines(s.B, s.ldb, s.weights || !s.transpose_b ? s.N : s.K) && (s.weights || s.expert_stride % 8 == 0);
}
// Whether SwiGLU, or its gradient, can be part of the product's kernel, with the bits of the row of its own but for dscale, whose sum has another order: up-projections' weights have their lines along K, gradients through the down-projection's have not.
inline bool gates_in_kernel(const GroupedGemmArgs& s) {
  return s.out == DType::bf16 && s.N > 0 && s.swiglu.write == Write::overwrite && (s.swiglu.y ? s.transpose_b && swiglu_aligned(s.swiglu) : !s.transpose_b && swiglu_gradient_aligned(s.swiglu));
}
// f(whether it is of weights, whether B's lines are k, what becomes of the sums, of which a warp has `columns` in a row).
template <class Out, class F>
void with_grouped(const Exec& exec, const GroupedGemmArgs& s, int columns, F f) {
  using Yes = std::true_type;
  using No = std::false_type;
  if constexpr (std::is_same_v<Out, Bf16>) {
    const SwigluArgs& g = s.swiglu;
    if (g.y) return f(No{}, No{}, StoreSwiglu{static_cast<Bf16*>(s.C), static_cast<Bf16*>(g.y), g.scale, s.ldc, g.y_row, g.columns});
    if (g.dx) {
      const std::int64_t parts = ceil_div(s.N, mma_tile) * (mma_tile / columns);
      auto* const part = g.dscale ? static_cast<float*>(exec.scratch(exec.pool, exec.workers, static_cast<std::size_t>(parts * g.rows) * sizeof(float))) : nullptr;
      f(No{}, Yes{}, StoreSwigluGradient{static_cast<const Bf16*>(g.x), static_cast<Bf16*>(g.dx), g.scale, part, g.x_row, g.dx_row, g.rows, g.columns});
      if (part) reduce(exec, ReduceArgs{.n = parts, .inner = g.rows, .x = part, .y = g.dscale});
      return;
    }
  }
  auto* const c = static_cast<Out*>(s.C);
  const StoreProduct<Out> store{c, s.write == Write::add ? c : nullptr, s.ldc, 0, s.N, in_pairs(s) && (!s.weights || s.expert_stride % 2 == 0), {}};
  if (s.weights) f(Yes{}, Yes{}, store);
  else s.transpose_b ? f(No{}, No{}, store) : f(No{}, Yes{}, store);
}
template <class Out>
void grouped_gemm_mma(const Exec& exec, const GroupedGemmArgs& s) {
  with_grouped<Out>(exec, s, 32, [&](auto weights, auto b_k, auto store) {
    launch(exec, {2 * multiprocessors(), mma_threads}, MmaGroupedKernel<decltype(weights)::value, decltype(b_k)::value, decltype(store)>{s, store});
  });
}

}  // namespace bam::cuda
