// GEMM by packed blocks (Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication").
// C (M, N) = or += op(A) (M, K) op(B) (K, N), dense, batched, and grouped by expert: all are lists of products cut into
// independent tasks of rows x columns of one C. A task walks K in blocks; for each it packs its part of B (panels of
// tile_columns), then its part of A (panels of tile_rows), and runs the register tile over them. Partial sums rest in C,
// so an output is one fma chain over k in order whatever the cut. A task shares nothing, so there is no barrier; what it
// packs again beside its neighbours counts in the choice of the cut.
// Read once per instruction set.
#include "transpose.inl"

// The register tile is tile_rows x tile_columns: as many accumulators as leave room for a row of B and one broadcast.
#if BAM_LEVEL == 2
struct Wide {
  F32x16 a, b;
};
BAM_INLINE Wide wide_zero() { return {F32x16(0.0f), F32x16(0.0f)}; }
BAM_INLINE Wide wide_load(const float* p) { return {load(p), load(p + 16)}; }
BAM_INLINE void wide_store(float* p, Wide x) {
  store(p, x.a);
  store(p + 16, x.b);
}
BAM_INLINE Wide wide_fma(F32x16 x, Wide y, Wide z) { return {fma(x, y.a, z.a), fma(x, y.b, z.b)}; }
inline constexpr int tile_rows = 12, tile_columns = 32;
#define BAM_TILE_ROWS(X)                                                                        \
  X(0, p0) X(1, p0 + a_row) X(2, p0 + 2 * a_row) X(3, p1) X(4, p1 + a_row) X(5, p1 + 2 * a_row) \
  X(6, p2) X(7, p2 + a_row) X(8, p2 + 2 * a_row) X(9, p3) X(10, p3 + a_row) X(11, p3 + 2 * a_row)
#else
using Wide = F32x16;
BAM_INLINE Wide wide_zero() { return F32x16(0.0f); }
BAM_INLINE Wide wide_load(const float* p) { return load(p); }
BAM_INLINE void wide_store(float* p, Wide x) { store(p, x); }
BAM_INLINE Wide wide_fma(F32x16 x, Wide y, Wide z) { return fma(x, y, z); }
inline constexpr int tile_columns = 16;
#if BAM_LEVEL == 1
inline constexpr int tile_rows = 6;
#define BAM_TILE_ROWS(X) X(0, p0) X(1, p0 + a_row) X(2, p0 + 2 * a_row) X(3, p1) X(4, p1 + a_row) X(5, p1 + 2 * a_row)
#else
inline constexpr int tile_rows = 4;
#define BAM_TILE_ROWS(X) X(0, p0) X(1, p0 + a_row) X(2, p0 + 2 * a_row) X(3, p1)
#endif
#endif
inline constexpr int narrow_rows = 4;  // a second tile for the last rows, and for the few rows of decoding
#define BAM_NARROW_ROWS(X) X(0, p0) X(1, p0 + a_row) X(2, p0 + 2 * a_row) X(3, p1)

// c[i, :] = or += sum over k, in order, of a[i * a_row + k * a_step] * b[k * b_step + :] for all rows of the tile.
// Accumulators are named, not an array: an array that is not unrolled early enough lives on the stack.
#define BAM_CLEAR(i, p) Wide c##i = wide_zero();
#define BAM_TOUCH(i, p) __builtin_prefetch(below + i * ldc, 1, 2), __builtin_prefetch(below + i * ldc + tile_columns - 1, 1, 2);
#define BAM_LOAD(i, p) c##i = wide_load(c + i * ldc);
#define BAM_STEP(i, p) c##i = wide_fma(F32x16(*(p)), row, c##i);
#define BAM_STORE(i, p) wide_store(c + i * ldc, c##i);
#define BAM_TILE(name, ROWS)                                                                                          \
  __attribute__((noinline)) inline void name(const float* a, std::int64_t a_row, std::int64_t a_step, const float* b, \
                                             std::int64_t b_step, std::int64_t k, float* c, std::int64_t ldc,         \
                                             bool add) {                                                              \
    ROWS(BAM_CLEAR)                                                                                                   \
    if (add) {                                                                                                        \
      ROWS(BAM_LOAD)                                                                                                  \
    }                                                                                                                 \
    const float* below = c + tile_rows * ldc; /* the next tile of C comes from memory meanwhile */                    \
    ROWS(BAM_TOUCH)                                                                                                   \
    const float *p0 = a, *p1 = a + 3 * a_row;                                                                         \
    [[maybe_unused]] const float *p2 = a + 6 * a_row, *p3 = a + 9 * a_row;                                            \
    for (; k > 0; --k) {                                                                                              \
      Wide row = wide_load(b);                                                                                        \
      ROWS(BAM_STEP)                                                                                                  \
      b += b_step;                                                                                                    \
      p0 += a_step;                                                                                                   \
      p1 += a_step;                                                                                                   \
      p2 += a_step;                                                                                                   \
      p3 += a_step;                                                                                                   \
    }                                                                                                                 \
    ROWS(BAM_STORE)                                                                                                   \
  }
BAM_TILE(full_tile, BAM_TILE_ROWS)
BAM_TILE(narrow_tile, BAM_NARROW_ROWS)
#undef BAM_TILE
#undef BAM_CLEAR
#undef BAM_TOUCH
#undef BAM_LOAD
#undef BAM_STEP
#undef BAM_STORE
#undef BAM_TILE_ROWS
#undef BAM_NARROW_ROWS

// A tile of which only rows x columns exist in C: it runs in a copy, so what the padding computes is dropped.
__attribute__((noinline)) inline void edge_tile(const float* a, std::int64_t a_row, std::int64_t a_step, const float* b,
                                                std::int64_t k, float* c, std::int64_t ldc, bool add,
                                                std::int64_t rows, std::int64_t columns) {
  alignas(64) float t[tile_rows * tile_columns] = {};
  if (add)
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j) t[i * tile_columns + j] = c[i * ldc + j];
  (rows <= narrow_rows ? narrow_tile : full_tile)(a, a_row, a_step, b, tile_columns, k, t, tile_columns, add);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < columns; ++j) c[i * ldc + j] = t[i * tile_columns + j];
}

// C (rows, columns) from A by strides (full tiles of rows must be readable) and B in panels of tile_columns x k.
// padded: C has room for whole tiles, whatever they hold beyond its rows and columns.
inline void run_tiles(const float* a, std::int64_t a_panel, std::int64_t a_row, std::int64_t a_step, const float* b,
                      std::int64_t b_panel, std::int64_t k, float* c, std::int64_t ldc, bool add, std::int64_t rows,
                      std::int64_t columns, bool padded) {
  for (std::int64_t j = 0; j < columns; j += tile_columns, b += b_panel) {
    const float* at = a;
    for (std::int64_t i = 0; i < rows; i += tile_rows, at += a_panel) {
      std::int64_t m = rows - i, n = columns - j;
      float* to = c + i * ldc + j;
      bool whole = padded || n >= tile_columns;
      if (whole && m > narrow_rows && (padded || m >= tile_rows))
        full_tile(at, a_row, a_step, b, tile_columns, k, to, ldc, add);
      else if (whole && (m == narrow_rows || (padded && m < narrow_rows)))
        narrow_tile(at, a_row, a_step, b, tile_columns, k, to, ldc, add);
      else
        edge_tile(at, a_row, a_step, b, k, to, ldc, add, m < tile_rows ? m : tile_rows, n < tile_columns ? n : tile_columns);
    }
  }
}

// An operand as contiguous lines. across: a line is one step of k (and holds all rows or columns); else a line is one
// row or column (and holds all of k). A null index is the identity.
struct Lines {
  const float* p = nullptr;
  std::int64_t ld = 0;
  const std::int64_t* index = nullptr;
  bool across = false;
  BAM_INLINE const float* line(std::int64_t i) const { return p + (index ? index[i] : i) * ld; }
};

// Panels of `width`: dst[panel][k][width] = element(x0 + panel * width + lane, k0 + k). Lanes beyond `n` are 0 or
// repeat the last one; nothing reads their results. Writes up to 15 floats past the end.
__attribute__((noinline)) inline void pack(float* dst, int width, const Lines& from, std::int64_t x0, std::int64_t n,
                                           std::int64_t k0, std::int64_t k) {
  if (k <= 0) return;
  if (from.across) {
    // A few lines at a time, so that each panel's part is one short loop and the lines stay in the L1 cache.
    for (std::int64_t at = 0; at < k; at += 8) {
      const std::int64_t steps = k - at < 8 ? k - at : 8;
      const float* line[8];
      for (std::int64_t i = 0; i < steps; ++i) line[i] = from.line(k0 + at + i) + x0;
      float* to = dst + at * width;
      for (std::int64_t x = 0; x < n; x += width, to += width * k)
        for (int l = 0; l < width; l += 16) {
          const std::int64_t left = n - x - l;
          const int lanes = width - l < 16 ? width - l : 16, some = left < lanes ? static_cast<int>(left > 0 ? left : 0) : lanes;
          float* out = to + l;
          // a whole store runs into the next steps' lanes, which are written afterwards, but never into the next panel
          const std::int64_t inside = k - at - ceil_div(l + 16, width) + 1, wide = inside < steps ? inside : steps;
          std::int64_t i = 0;
          if (some == 16)
            for (; i < wide; ++i, out += width) store(out, load(line[i] + x + l));
          else
            for (; i < wide; ++i, out += width) store(out, load_part(line[i] + x + l, some));
          for (; i < steps; ++i, out += width) store_part(out, load_part(line[i] + x + l, some), lanes);
        }
    }
    return;
  }
  for (std::int64_t x = 0; x < n; x += width, dst += width * k) {
    int valid = n - x < width ? static_cast<int>(n - x) : width;
    for (int l = 0; l < width; l += transpose_width) {
      const float* line[transpose_width];
      for (int i = 0; i < transpose_width; ++i)
        line[i] = from.line(x0 + x + (l + i < valid ? l + i : valid - 1)) + k0;
      std::int64_t i = 0;
      // a square wider than the panel runs into the next step's lanes, which are written afterwards
      for (; i + transpose_width <= k; i += transpose_width) {
        for (const float* p : line) __builtin_prefetch(p + i + 64);  // short strided streams, beyond the hardware's prefetcher
        transpose(line, i, dst + i * width + l, width);
      }
      for (; i < k; ++i)
        for (int y = 0; y < transpose_width && l + y < width; ++y) dst[i * width + l + y] = line[y][i];
    }
  }
}

// One product of a list.
struct Product {
  Lines a, b;
  float* c = nullptr;
  std::int64_t ldc = 0, rows = 0, columns = 0, k = 0;
  bool add = false;
  const float* from = nullptr;  // what is added to, where that is not C
};

// How a list is cut: tasks of rows x columns, in which pack_rows x block_k of A are packed at a time.
struct GemmCut {
  std::int64_t rows = 0, columns = 0, pack_rows = 0, block_k = 0;
  std::int64_t floats() const { return (columns + pack_rows) * block_k + 64; }
};

inline std::int64_t even_cut(std::int64_t n, std::int64_t most, std::int64_t unit) {
  if (n <= 0) return unit;
  std::int64_t parts = ceil_div(n, most);
  return ceil_div(ceil_div(n, parts), unit) * unit;
}

// The cut whose slowest worker has the least to do, in products and in packing, of those whose packed parts fit the L2 cache. A float
// that is packed costs as much as pack_cost products (0.6 cycles, measured with AVX-512; where a product takes longer, less). products: how many such C there are.
__attribute__((noinline)) inline GemmCut cut_gemm(const Exec& exec, std::int64_t products, std::int64_t rows,
                                                  std::int64_t columns, std::int64_t k) {
  constexpr std::int64_t most_rows = 960, pack_cost = 20;
  GemmCut cut{tile_rows, tile_columns, tile_rows, 16};
  if (rows <= 0 || columns <= 0) return cut;
  const bool once = rows <= tile_rows;  // B passes once: keep its packed part in the L1 cache
  const std::int64_t most_columns = once ? 128 : 384, workers = exec.workers > 1 ? exec.workers : 1;
  cut.block_k = even_cut(k, once ? 64 : 320, 16);
  std::int64_t least = -1, last_height = 0;
  for (std::int64_t i = ceil_div(rows, most_rows), whole = ceil_div(rows, tile_rows); i <= whole; ++i) {
    const std::int64_t height = even_cut(rows, ceil_div(rows, i), tile_rows), down = ceil_div(rows, height);
    if (height == last_height) continue;
    last_height = height;
    std::int64_t last_width = 0;
    for (std::int64_t j = ceil_div(columns, most_columns), all = ceil_div(columns, tile_columns); j <= all; ++j) {
      const std::int64_t width = even_cut(columns, ceil_div(columns, j), tile_columns), tasks = products * down * ceil_div(columns, width);
      if (width == last_width) continue;
      last_width = width;
      const std::int64_t cost = ceil_div(tasks, workers) * (height * width + pack_cost * (height + width));
      if (least < 0 || cost < least) least = cost, cut.rows = height, cut.columns = width;
      if (tasks >= 6 * workers) break;  // more only pack more
    }
    if (products * down >= 6 * workers) break;
  }
  cut.pack_rows = even_cut(cut.rows, 192, tile_rows);
  return cut;
}

// A few rows times B by its rows, as in decoding: B is read once, line by line over all of k, turned 16 columns at a time and used
// from there, so memory sets the time. Each output is the same chain over k as in a tile. R >= rows; the last row stands in for more.
template <int R>
__attribute__((noinline)) inline void few_rows(const Product& p, std::int64_t row, std::int64_t rows, std::int64_t column, std::int64_t columns) {
  const float* a[R];
  for (int r = 0; r < R; ++r) a[r] = p.a.line(row + (r < rows ? r : rows - 1));
  alignas(64) float t[16 * 16];
  for (std::int64_t j = 0; j < columns; j += 16) {
    int n = columns - j < 16 ? static_cast<int>(columns - j) : 16;
    const float* line[16];
    for (int x = 0; x < 16; ++x) line[x] = p.b.line(column + j + (x < n ? x : n - 1));
    float* c = p.c + row * p.ldc + column + j;
    F32x16 total[R];
    for (int r = 0; r < R; ++r) total[r] = p.add && r < rows ? load_part(c + r * p.ldc, n) : F32x16(0.0f);
    std::int64_t k = 0;
    for (; k + transpose_width <= p.k; k += transpose_width) {
      if (k % 16 == 0)
        for (const float* l : line) __builtin_prefetch(l + k + 128);
      for (int x = 0; x < 16; x += transpose_width) transpose(line + x, k, t + x, 16);
      for (int i = 0; i < transpose_width; ++i) {
        F32x16 b = load(t + 16 * i);
        for (int r = 0; r < R; ++r) total[r] = fma(F32x16(a[r][k + i]), b, total[r]);
      }
    }
    for (; k < p.k; ++k) {
      for (int x = 0; x < 16; ++x) t[x] = line[x][k];
      F32x16 b = load(t);
      for (int r = 0; r < R; ++r) total[r] = fma(F32x16(a[r][k]), b, total[r]);
    }
    for (int r = 0; r < rows; ++r) store_part(c + r * p.ldc, total[r], n);
  }
}

__attribute__((noinline)) inline void gemm_task(float* space, const GemmCut& cut, const Product& p, std::int64_t row,
                                                std::int64_t column) {
  std::int64_t rows = p.rows - row < cut.rows ? p.rows - row : cut.rows;
  std::int64_t columns = p.columns - column < cut.columns ? p.columns - column : cut.columns;
  if (rows <= 0 || columns <= 0) return;
  for (std::int64_t i = row; p.from && i < row + rows; ++i)  // the task's own part, which stays in the cache
    for (std::int64_t j = column; j < column + columns; j += 16) {
      const int n = column + columns - j < 16 ? static_cast<int>(column + columns - j) : 16;
      store_part(p.c + i * p.ldc + j, load_part(p.from + i * p.ldc + j, n), n);
    }
  if (p.k <= 0 && p.add) return;
  if (p.rows <= 8 && !p.a.across && !p.b.across) return (rows == 1 ? few_rows<1> : rows <= 4 ? few_rows<4> : few_rows<8>)(p, row, rows, column, columns);
  float *packed_b = space, *packed_a = space + cut.columns * cut.block_k;
  std::int64_t at = 0;
  do {  // once even when k is 0: an overwritten C becomes 0
    std::int64_t k = p.k - at < cut.block_k ? p.k - at : cut.block_k;
    pack(packed_b, tile_columns, p.b, column, columns, at, k);
    for (std::int64_t r = 0; r < rows; r += cut.pack_rows) {
      std::int64_t some = rows - r < cut.pack_rows ? rows - r : cut.pack_rows;
      pack(packed_a, tile_rows, p.a, row + r, some, at, k);
      run_tiles(packed_a, tile_rows * k, 1, tile_rows, packed_b, tile_columns * k, k,
                p.c + (row + r) * p.ldc + column, p.ldc, p.add || at > 0, some, columns, false);
    }
    at += cut.block_k;
  } while (at < p.k);
}

inline void gemm_bf16(const Exec& exec, const GemmArgs& g);
inline void rope(const Exec& exec, const RopeArgs& s);

inline void gemm(const Exec& exec, const GemmArgs& g) {
  if (g.batch <= 0 || g.M <= 0 || g.N <= 0) return;
  if (g.turn.positions) {
    GemmArgs plain = g;
    plain.turn = {};
    gemm(exec, plain);
    return rope(exec, rope_args(g.turn, g.out, g.M, g.turned_heads, g.C, g.ldc, false));
  }
  if (g.dtype == DType::bf16) return gemm_bf16(exec, g);
  GemmCut cut = cut_gemm(exec, g.batch, g.M, g.N, g.K);
  std::int64_t row_tasks = ceil_div(g.M, cut.rows), column_tasks = ceil_div(g.N, cut.columns);
  parallel(exec, g.batch * row_tasks * column_tasks, [&](std::int64_t i, int worker) {
    std::int64_t item = i / (row_tasks * column_tasks), row = i / column_tasks % row_tasks, column = i % column_tasks;
    Product p;
    p.a = {f32(g.A) + item * g.batch_a, g.lda, nullptr, g.transpose_a};
    p.b = {f32(g.B) + item * g.batch_b, g.ldb, nullptr, !g.transpose_b};
    p.c = f32(g.C) + item * g.batch_c;
    p.ldc = g.ldc;
    p.rows = g.M;
    p.columns = g.N;
    p.k = g.K;
    p.add = g.write == Write::add;
    p.from = p.add ? f32(g.from) : nullptr;
    gemm_task(scratch(exec, worker, cut.floats()), cut, p, row * cut.rows, column * cut.columns);
  });
}

inline void gemm_pair(const Exec& exec, const GemmPairArgs& g) {
  gemm(exec, g.first);
  gemm(exec, g.second);
}

// The product of what bf16 operands are in float, one after the other: right, and not yet fast.
inline void gemm_bf16(const Exec& exec, const GemmArgs& g) {
  const std::int64_t a_lines = g.transpose_a ? g.K : g.M, a_width = g.transpose_a ? g.M : g.K, b_lines = g.transpose_b ? g.N : g.K, b_width = g.transpose_b ? g.K : g.N;
  const bool narrow = g.out == DType::bf16;
  float* a = scratch(exec, exec.workers, a_lines * a_width + b_lines * b_width + (narrow ? g.M * g.N : 0));
  float *b = a + a_lines * a_width, *c = b + b_lines * b_width;
  auto widen = [&](float* to, const void* from, std::int64_t ld, std::int64_t lines, std::int64_t width) {
    parallel(exec, lines, [&](std::int64_t i, int) {
      for (std::int64_t j = 0; j < width; ++j) to[i * width + j] = to_float(static_cast<const Bf16*>(from)[i * ld + j]);
    });
  };
  for (std::int64_t item = 0; item < g.batch; ++item) {
    widen(a, static_cast<const Bf16*>(g.A) + item * g.batch_a, g.lda, a_lines, a_width);
    widen(b, static_cast<const Bf16*>(g.B) + item * g.batch_b, g.ldb, b_lines, b_width);
    Bf16* own = static_cast<Bf16*>(g.C) + (narrow ? item * g.batch_c : 0);
    if (narrow && g.write == Write::add) widen(c, g.from ? g.from : own, g.ldc, g.M, g.N);
    GemmArgs s = g;
    s.dtype = s.out = DType::f32;
    s.batch = 1;
    s.A = a, s.lda = a_width;
    s.B = b, s.ldb = b_width;
    if (narrow) s.C = c, s.ldc = g.N, s.from = nullptr;
    else s.C = f32(g.C) + item * g.batch_c;
    gemm(exec, s);
    if (narrow)
      parallel(exec, g.M, [&](std::int64_t i, int) {
        for (std::int64_t j = 0; j < g.N; ++j) own[i * g.ldc + j] = to_bf16(c[i * g.N + j]);
      });
  }
}

// One queue over all experts. Rows are gathered while packing, so no permuted copy of the activations exists.
inline void grouped_gemm_bf16(const Exec& exec, const GroupedGemmArgs& g);
inline void swiglu_forward(const Exec& exec, const SwigluArgs& s);
inline void swiglu_backward(const Exec& exec, const SwigluArgs& s);

inline void grouped_gemm(const Exec& exec, const GroupedGemmArgs& g) {
  if (g.swiglu.y || g.swiglu.dx) {
    GroupedGemmArgs plain = g;
    plain.swiglu = {};
    grouped_gemm(exec, plain);
    return g.swiglu.y ? swiglu_forward(exec, g.swiglu) : swiglu_backward(exec, g.swiglu);
  }
  if (g.experts <= 0 || g.N <= 0 || (g.weights && g.M <= 0)) return;
  if (g.dtype == DType::bf16) return grouped_gemm_bf16(exec, g);
  std::int64_t most = 0;
  for (std::int64_t e = 0; e < g.experts; ++e) {
    std::int64_t n = g.offsets[e + 1] - g.offsets[e];
    if (n > most) most = n;
  }
  // as many experts as the rows would fill if all had the most
  const std::int64_t full = most > 0 ? (g.offsets[g.experts] - g.offsets[0]) / most : 1;
  GemmCut cut = cut_gemm(exec, full, g.weights ? g.M : most, g.N, g.weights ? most : g.K);
  auto rows_of = [&](std::int64_t e) { return g.weights ? g.M : g.offsets[e + 1] - g.offsets[e]; };
  std::int64_t column_tasks = ceil_div(g.N, cut.columns), row_tasks = 0;
  for (std::int64_t e = 0; e < g.experts; ++e) row_tasks += ceil_div(rows_of(e), cut.rows);
  parallel(exec, row_tasks * column_tasks, [&](std::int64_t i, int worker) {
    std::int64_t row = i / column_tasks, column = i % column_tasks, e = 0;
    for (std::int64_t n; row >= (n = ceil_div(rows_of(e), cut.rows)); ++e) row -= n;
    std::int64_t begin = g.offsets[e];
    Product p;
    p.rows = rows_of(e);
    p.columns = g.N;
    p.ldc = g.ldc;
    p.add = g.write == Write::add;
    // without an index, lines are counted from the expert's first row
    p.a = {f32(g.A) + (g.a_index ? 0 : begin * g.lda), g.lda, g.a_index ? g.a_index + begin : nullptr, g.weights};
    if (g.weights) {
      p.b = {f32(g.B) + (g.b_index ? 0 : begin * g.ldb), g.ldb, g.b_index ? g.b_index + begin : nullptr, true};
      p.c = f32(g.C) + e * g.expert_stride;
      p.k = g.offsets[e + 1] - begin;
    } else {
      p.b = {f32(g.B) + e * g.expert_stride, g.ldb, nullptr, !g.transpose_b};
      p.c = f32(g.C) + begin * g.ldc;
      p.k = g.K;
    }
    gemm_task(scratch(exec, worker, cut.floats()), cut, p, row * cut.rows, column * cut.columns);
  });
}

// As gemm_bf16, expert after expert, with the rows of each gathered.
inline void grouped_gemm_bf16(const Exec& exec, const GroupedGemmArgs& g) {
  const std::int64_t begin = g.offsets[0], rows = g.offsets[g.experts] - begin, a_width = g.weights ? g.M : g.K, b_width = g.weights || !g.transpose_b ? g.N : g.K;
  const bool narrow = g.out == DType::bf16;
  const std::int64_t b_lines = g.weights ? rows : g.transpose_b ? g.N : g.K, c_lines = g.weights ? g.M : rows;
  float* a = scratch(exec, exec.workers, rows * a_width + b_lines * b_width + (narrow ? c_lines * g.N : 0));
  float *b = a + rows * a_width, *c = b + b_lines * b_width;
  auto widen = [&](float* to, const void* from, std::int64_t ld, const std::int64_t* index, std::int64_t first, std::int64_t lines, std::int64_t width) {
    parallel(exec, lines, [&](std::int64_t i, int) {
      const Bf16* line = static_cast<const Bf16*>(from) + (index ? index[first + i] : first + i) * ld;
      for (std::int64_t j = 0; j < width; ++j) to[i * width + j] = to_float(line[j]);
    });
  };
  widen(a, g.A, g.lda, g.a_index, begin, rows, a_width);
  if (g.weights) widen(b, g.B, g.ldb, g.b_index, begin, rows, b_width);
  for (std::int64_t e = 0; e < g.experts; ++e) {
    const std::int64_t first = g.offsets[e] - begin, n = g.offsets[e + 1] - g.offsets[e];
    GemmArgs s;
    s.write = g.write;
    s.A = a + first * a_width, s.lda = a_width;
    s.N = g.N;
    s.transpose_a = g.weights;
    s.M = g.weights ? g.M : n;
    s.K = g.weights ? n : g.K;
    if (g.weights) {
      s.B = b + first * b_width;
    } else {
      if (n == 0) continue;
      widen(b, static_cast<const Bf16*>(g.B) + e * g.expert_stride, g.ldb, nullptr, 0, b_lines, b_width);
      s.B = b;
      s.transpose_b = g.transpose_b;
    }
    s.ldb = b_width;
    const std::int64_t at = g.weights ? e * g.expert_stride : g.offsets[e] * g.ldc;
    Bf16* own = static_cast<Bf16*>(g.C) + (narrow ? at : 0);
    if (narrow) {
      if (g.write == Write::add) widen(c, own, g.ldc, nullptr, 0, s.M, g.N);
      s.C = c, s.ldc = g.N;
    } else {
      s.C = f32(g.C) + at, s.ldc = g.ldc;
    }
    gemm(exec, s);
    if (narrow)
      parallel(exec, s.M, [&](std::int64_t i, int) {
        for (std::int64_t j = 0; j < g.N; ++j) own[i * g.ldc + j] = to_bf16(c[i * g.N + j]);
      });
  }
}
