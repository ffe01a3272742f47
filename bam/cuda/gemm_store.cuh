// What becomes of the sums of a product on tensor cores: they are stored, turned, or go through SwiGLU or its gradient before they leave the registers. A warp has sums of 16 rows by 8 n columns, as n fragments
// C of mma side by side; wgmma's lie likewise. `rows` and `columns` of a Store are where the output ends.
#pragma once
#include "device.cuh"
#include "rope.cuh"
#include "swiglu.cuh"

namespace bam::cuda {

// Whether columns 2i and 2i + 1 of C can be stored as one.
template <class Args>
bool in_pairs(const Args& s) {
  auto aligned = [&](const void* p) { return reinterpret_cast<std::uintptr_t>(p) % (2 * static_cast<std::uintptr_t>(size_of(s.out))) == 0; };
  bool all = s.N % 2 == 0 && s.ldc % 2 == 0 && aligned(s.C);
  if constexpr (requires { s.from; }) all = all && aligned(s.from);
  return all;
}
// Columns `column`, which is even, and the next of a line of N; added to those of `from`, unless it is null.
template <class Out>
BAM_DEVICE void store_two(Out* line, const Out* from, std::int64_t column, std::int64_t N, float first, float second, bool pairs) {
  if (pairs) {
    if (column >= N) return;
    float both[2] = {first, second}, before[2] = {};
    if (from) load_few(from + column, before), both[0] = before[0] + first, both[1] = before[1] + second;
    store_few(line + column, both, false);
    return;
  }
  if (column < N) set(line[column], from ? value(from[column]) + first : first);
  if (column + 1 < N) set(line[column + 1], from ? value(from[column + 1]) + second : second);
}

// C = or += the sums.
template <class Out, class Turn = TurnNothing>
struct StoreProduct {
  static constexpr bool gated = false;
  Out* c;
  const Out* from;  // what is added to, lying as C does; null: nothing
  std::int64_t ldc, rows, columns;
  bool pairs;  // two columns of C are one store
  Turn turn;
  BAM_DEVICE StoreProduct moved(std::int64_t offset, std::int64_t new_rows) const { return {c + offset, from ? from + offset : nullptr, ldc, new_rows, columns, pairs, turn}; }
  BAM_DEVICE StoreProduct of_rows(std::int64_t begin, std::int64_t count) const { return moved(begin * ldc, count); }
  template <int n>
  BAM_DEVICE void operator()(FragmentC (&sums)[n], std::int64_t row0, std::int64_t column0) const {
    const int lane = thread() % warp_lanes;
    BAM_UNROLL
    for (int j = 0; j < n; ++j)
      BAM_UNROLL
      for (int i = 0; i < 4; i += 2) {
        const std::int64_t row = row0 + i / 2 * 8 + lane / 4, column = column0 + j * 8 + lane % 4 * 2;
        if (row >= rows) continue;
        turn(row, column, sums[j].v[i], sums[j].v[i + 1]);
        store_two(c + row * ldc, from ? from + row * ldc : nullptr, column, columns, sums[j].v[i], sums[j].v[i + 1], pairs);
      }
  }
};

// SwiGLU of the sums: the first half of a warp's columns are gates from column0, the second the ups of the same columns. Both are stored, and y of what is stored.
struct StoreSwiglu {
  static constexpr bool gated = true;
  Bf16 *c, *y;
  const float* scale;
  std::int64_t ldc, y_row, columns, first = 0, rows = 0;  // columns: of gates; first: where the tile's rows are counted from
  BAM_DEVICE StoreSwiglu of_rows(std::int64_t begin, std::int64_t count) const { return {c, y, scale, ldc, y_row, columns, begin, begin + count}; }
  template <int n>
  BAM_DEVICE void operator()(FragmentC (&sums)[n], std::int64_t row0, std::int64_t column0) const {
    const int lane = thread() % warp_lanes;
    BAM_UNROLL
    for (int i = 0; i < 4; i += 2) {
      const std::int64_t row = first + row0 + i / 2 * 8 + lane / 4;
      if (row >= rows) continue;
      const float k = scale ? scale[row] : 1.0f;
      BAM_UNROLL
      for (int j = 0; j < n / 2; ++j) {
        const std::int64_t column = column0 + j * 8 + lane % 4 * 2;
        if (column >= columns) continue;
        float gate[2] = {sums[j].v[i], sums[j].v[i + 1]}, up[2] = {sums[j + n / 2].v[i], sums[j + n / 2].v[i + 1]};
        round_two(gate);
        round_two(up);
        store_few(c + row * ldc + column, gate, false);
        store_few(c + row * ldc + columns + column, up, false);
        BAM_UNROLL
        for (int v = 0; v < 2; ++v) up[v] = swiglu<true>(gate[v], up[v], k);
        store_few(y + row * y_row + column, up, false);
      }
    }
  }
};

// Its gradient: the sums, rounded, are those of y.
struct StoreSwigluGradient {
  static constexpr bool gated = false;
  const Bf16* x;
  Bf16* dx;
  const float* scale;
  float* part;  // of dscale: of each group of a warp's columns a line, which has each row's sum over them; null: not wanted
  std::int64_t x_row, dx_row, part_row, columns, first = 0, rows = 0;
  BAM_DEVICE StoreSwigluGradient of_rows(std::int64_t begin, std::int64_t count) const { return {x, dx, scale, part, x_row, dx_row, part_row, columns, begin, begin + count}; }
  template <int n>
  BAM_DEVICE void operator()(FragmentC (&sums)[n], std::int64_t row0, std::int64_t column0) const {
    using Two = Few<Bf16, 2>;
    const int lane = thread() % warp_lanes;
    const int left = static_cast<int>(smaller(columns - column0, 8 * n)) - lane % 4 * 2;  // columns from the first of the lane: one register
    BAM_UNROLL
    for (int i = 0; i < 4; i += 2) {
      const std::int64_t row = first + row0 + i / 2 * 8 + lane / 4;
      const bool on = row < rows;
      const Bf16* const from = x + row * x_row + column0 + lane % 4 * 2;
      Bf16* const to = dx + row * dx_row + column0 + lane % 4 * 2;
      const float k = scale && on ? scale[row] : 1.0f;
      Two gates[n] = {}, ups[n] = {};  // all loads before the first store, past which the compiler could not move them
      BAM_UNROLL
      for (int j = 0; j < n; ++j) {
        if (!on || j * 8 >= left) continue;
        gates[j] = *reinterpret_cast<const Two*>(from + j * 8);
        ups[j] = *reinterpret_cast<const Two*>(from + columns + j * 8);
      }
      float total = 0;
      BAM_UNROLL
      for (int j = 0; j < n; ++j) {
        if (!on || j * 8 >= left) continue;
        float d[2] = {sums[j].v[i], sums[j].v[i + 1]}, gate[2], up[2];
        round_two(d);
        BAM_UNROLL
        for (int v = 0; v < 2; ++v) {
          gate[v] = value(gates[j].v[v]), up[v] = value(ups[j].v[v]);
          swiglu_gradient<true>(gate[v], up[v], d[v], k, total);
        }
        store_few(to + j * 8, gate, false);
        store_few(to + columns + j * 8, up, false);
      }
      if (!part) continue;  // for all lanes
      for (int lanes = 1; lanes < 4; lanes *= 2) total = total + shuffle_xor(total, lanes);
      if (on && lane % 4 == 0) part[column0 / (8 * n) * part_row + row] = total;
    }
  }
};

}  // namespace bam::cuda
