// Attention in bf16 with heads of 128, by wgmma and TMA (sm_90a), after FlashAttention-3 (Shah et al. 2024, arXiv 2407.08608). Forward: a block owns 128 queries of a head, or fewer of some heads that share their keys, and has three warpgroups: one thread of the first
// starts the copies of the queries, then of 128 keys and 128 values at a time into two stages of shared memory; the others, 64 queries each, do the rest, so that one may multiply while the other is at its softmax. Scores and
// output are sums in registers; the weights, rounded to bf16, are the left operand of their product with the values without leaving them. Backward: the same, as two kernels, so that nothing is added across blocks
// (attention_mma.cuh). Not run on hardware yet: BAM_CUDA_PATH=wgmma asks for it.
#pragma once
#include "attention_mma.cuh"
#include "gemm_wgmma.cuh"

namespace bam::cuda {

inline constexpr int flash_head = 128, flash_stages = 2;
// A tile of `rows` rows: 64 columns of each, 128 bytes a row, then the other 64.
template <int rows>
inline constexpr int flash_bytes = rows * flash_head * 2;
// Shared memory that begins with barriers and whose tiles are aligned to 1024.
BAM_INLINE constexpr std::int64_t flash_shared(int tiles) { return std::int64_t{1024} + tiles + 1024; }
BAM_DEVICE std::uint32_t flash_tiles(const void* after) { return (shared_address(after) + 1023) / 1024 * 1024; }

// The operand of 16 columns from `column` of the rows from `row` of a tile, k along the columns; and that of all columns of 16 rows, k along the rows.
template <int rows>
BAM_INLINE constexpr std::uint64_t flash_along_columns(std::uint32_t tile, int row, int column) {
  return matrix_descriptor<false, 64>(tile + static_cast<std::uint32_t>(column / 64 * flash_bytes<rows> / 2 + row * 128 + column % 64 * 2));
}
template <int rows>
BAM_INLINE constexpr std::uint64_t flash_along_rows(std::uint32_t tile, int row) {
  return matrix_descriptor<true, rows>(tile + static_cast<std::uint32_t>(row * 128));
}
// Starts the copy of a tile: the rows from `row` of head number `head` of a matrix that is mapped in boxes of `rows`.
template <int rows>
BAM_DEVICE void flash_copy(unsigned char* to, const TensorMap& map, std::int64_t row, std::int64_t head, Barrier* full) {
  copy_tile(to, map, row, head * flash_head, full);
  copy_tile(to + flash_bytes<rows> / 2, map, row, head * flash_head + 64, full);
}
// That of a unit's heads, mapped in boxes of the queries of one.
template <int rows>
BAM_DEVICE void flash_copy(unsigned char* to, const TensorMap& map, std::int64_t row, const HeadPack& pack, std::int64_t unit, Barrier* full) {
  for (int i = 0; i < pack.heads; ++i, to += pack.queries * 128) {
    const std::int64_t column = pack.head(unit, i) * flash_head;
    copy_tile(to, map, row, column, full);
    copy_tile(to + flash_bytes<rows> / 2, map, row, column + 64, full);
  }
}
// x (64, n), thread t's part, = the 64 rows from `row` of a left tile times those of a right one, over the columns.
template <int left_rows, int right_rows, int sums>
BAM_DEVICE void flash_scores(float (&x)[sums], std::uint32_t left, int row, std::uint32_t right) {
  multiply<false, false, false>(x, flash_along_columns<left_rows>(left, row, 0), flash_along_columns<right_rows>(right, 0, 0));
  BAM_UNROLL
  for (int d = 16; d < flash_head; d += 16) multiply<false, false>(x, flash_along_columns<left_rows>(left, row, d), flash_along_columns<right_rows>(right, 0, d));
}
// Number i of the fragments, 16 columns each, in which x, rounded to bf16, is the left operand of a product over its columns.
template <int sums>
BAM_DEVICE FragmentA flash_pack(const float (&x)[sums], int i) {
  FragmentA f;
  BAM_UNROLL
  for (int half = 0; half < 4; ++half) f.r[half] = pack(x[8 * i + 2 * half], x[8 * i + 2 * half + 1]);
  hold(f);
  return f;
}
// Both scores of a gradient, waited for: x = the left rows times the right ones, dp those of the tiles behind them.
template <int left_rows, int right_rows>
BAM_DEVICE void flash_both_scores(float (&x)[right_rows / 2], float (&dp)[right_rows / 2], std::uint32_t left, int row, std::uint32_t right) {
  fence_products();
  flash_scores<left_rows, right_rows>(x, left, row, right);
  flash_scores<left_rows, right_rows>(dp, left + flash_bytes<left_rows>, row, right + flash_bytes<right_rows>);
  commit_products();
  hold(x);
  hold(dp);
  wait_products<0>();
  hold(x);
  hold(dp);
}
inline constexpr float log2_of_e = 1.44269504f;

struct WgmmaForwardKernel {
  AttentionArgs a;
  HeadPack pack;
  TensorMap q, k, v;

  static constexpr int most_threads = wgmma_threads, resident_blocks = 1, size = 128, stages = flash_stages;  // size: of a tile of queries, keys or values
  static constexpr std::int64_t shared_bytes = flash_shared((1 + 2 * stages) * flash_bytes<size>);
  struct Barriers {
    Barrier queries, keys[stages], values[stages], keys_free[stages], values_free[stages];
  };
  BAM_DEVICE static void load(unsigned char* to, const TensorMap& map, std::int64_t row, std::int64_t head, Barrier* full) {
    arrive_expecting(full, flash_bytes<size>);
    flash_copy<size>(to, map, row, head, full);
  }
  BAM_DEVICE void operator()() const {
    const SegmentTile at = query_tile(a, last_first() / pack.units, pack.queries);
    const Segment g = at.segment;
    const std::int64_t unit = last_first() % pack.units, kv = pack.head(unit, 0) / a.group % a.kv_heads, past = g.k_length - g.q_length, n = smaller(pack.queries, g.q_length - at.first);
    const std::int64_t end = a.causal ? smaller(g.k_length, past + at.first + n) : g.k_length;
    if (!at.on) return;  // by the whole block
    Barriers& b = *shared<Barriers>();
    const std::uint32_t begin = flash_tiles(&b + 1);  // the queries, then keys and values of each stage
    unsigned char* const tiles = shared<unsigned char>() + (begin - shared_address(&b));
    if (thread() == 0) {
      init_barrier(&b.queries, 1);
      for (int s = 0; s < stages; ++s) {
        init_barrier(&b.keys[s], 1);
        init_barrier(&b.values[s], 1);
        init_barrier(&b.keys_free[s], 2 * warpgroup_threads / warp_lanes);
        init_barrier(&b.values_free[s], 2 * warpgroup_threads / warp_lanes);
      }
      fence_barriers();
    }
    sync();
    if (thread() < warpgroup_threads) {
      give_registers<40>();
      if (thread() == 0 && end > 0) {
        arrive_expecting(&b.queries, flash_bytes<size>);
        flash_copy<size>(tiles, q, g.q_begin + at.first, pack, unit, &b.queries);
        for (std::int64_t k0 = 0, step = 0; k0 < end; k0 += size, ++step) {
          const int s = static_cast<int>(step % stages);
          const unsigned was_free = static_cast<unsigned>(step / stages + 1) & 1u;  // the first round finds them free
          unsigned char* const to = tiles + (1 + 2 * s) * flash_bytes<size>;
          wait_barrier(&b.keys_free[s], was_free);
          load(to, k, g.k_begin + k0, kv, &b.keys[s]);
          wait_barrier(&b.values_free[s], was_free);
          load(to + flash_bytes<size>, v, g.k_begin + k0, kv, &b.values[s]);
        }
      }
    } else {
      take_registers<232>();
      const int t = thread() % warpgroup_threads, first = (thread() / warpgroup_threads - 1) * 64, warp_row = first + t / 32 * 16;
      const int lowest = first % pack.queries, own = warp_row % pack.queries + t % 32 / 4;  // of the warpgroup's queries; the thread's: own and own + 8
      const std::int64_t h = pack.head(unit, warp_row / pack.queries);
      const float to_power = a.scale * log2_of_e;  // e^(scale x) = 2^(to_power x)
      float out[64] = {}, top[2] = {-1e30f, -1e30f}, total[2] = {0, 0};  // top: of the scores before they are scaled; finite, so that no difference is NaN
      if (end > 0) wait_barrier(&b.queries, 0);
      for (std::int64_t k0 = 0, step = 0; k0 < end; k0 += size, ++step) {
        const int s = static_cast<int>(step % stages);
        const unsigned full = static_cast<unsigned>(step / stages) & 1u;
        const std::uint32_t keys = begin + static_cast<std::uint32_t>((1 + 2 * s) * flash_bytes<size>), values = keys + flash_bytes<size>;
        float x[64];
        wait_barrier(&b.keys[s], full);
        fence_products();
        flash_scores<size, size>(x, begin, first, keys);
        commit_products();
        hold(x);
        wait_products<0>();
        hold(x);
        if (t % warp_lanes == 0) arrive(&b.keys_free[s]);
        const std::int64_t seen_by_first = a.causal ? smaller(g.k_length, past + at.first + lowest + 1) : g.k_length;
        if (k0 + size > seen_by_first)
          BAM_UNROLL
          for (int j = 0; j < 16; ++j)
            BAM_UNROLL
            for (int i = 0; i < 4; ++i) {
              const std::int64_t key = k0 + j * 8 + t % 4 * 2 + i % 2;
              if (key >= g.k_length || (a.causal && key > past + at.first + own + i / 2 * 8)) x[4 * j + i] = -__builtin_inff();
            }
        BAM_UNROLL
        for (int r = 0; r < 2; ++r) {
          float high = top[r];
          BAM_UNROLL
          for (int j = 0; j < 16; ++j) high = larger(high, larger(x[4 * j + 2 * r], x[4 * j + 2 * r + 1]));
          high = max_quad(high);
          const float fix = exp2_fast((top[r] - high) * to_power), low = 0.0f - high * to_power;
          top[r] = high;
          total[r] = total[r] * fix;
          BAM_UNROLL
          for (int j = 0; j < 16; ++j)
            BAM_UNROLL
            for (int c = 0; c < 2; ++c) {
              float& w = x[4 * j + 2 * r + c];
              w = exp2_fast(math::fma(w, to_power, low));
              total[r] = total[r] + w;  // the thread's own columns; the four are added at the end
              out[4 * j + 2 * r + c] = out[4 * j + 2 * r + c] * fix;
            }
        }
        FragmentA weights[8];
        BAM_UNROLL
        for (int i = 0; i < 8; ++i) weights[i] = flash_pack(x, i);
        wait_barrier(&b.values[s], full);
        hold(out);
        fence_products();
        BAM_UNROLL
        for (int i = 0; i < 8; ++i) multiply<true>(out, weights[i], flash_along_rows<size>(values, i * 16));
        commit_products();
        hold(out);
        wait_products<0>();  // here and not after the next scores: ptxas lets no product be under way around the loop
        hold(out);
        if (t % warp_lanes == 0) arrive(&b.values_free[s]);
      }
      BAM_UNROLL
      for (int r = 0; r < 2; ++r) {
        const float sum = sum_quad(total[r]);
        const std::int64_t row = own + r * 8;
        if (row < n) flash_store<flash_head>(a, h, g.q_begin + at.first + row, sum, math::fma(top[r], a.scale, math::log(sum)), [&](int j, int c) { return out[4 * j + 2 * r + c]; });
      }
    }
  }
};

// dQ, and seen (heads, rows) = the sum over keys of P dP, of which the gate's gradient comes: a block owns 128 queries of a head, or fewer of some heads that share their keys. dots (heads, rows) = dout . out.
struct WgmmaQueryGradientKernel {
  AttentionArgs a;
  HeadPack pack;
  const float* dots;
  float* seen;
  TensorMap q, dout, k, v;

  static constexpr int most_threads = wgmma_threads, resident_blocks = 1, size = 128, step_size = 64, stages = flash_stages;
  static constexpr std::int64_t shared_bytes = flash_shared(2 * flash_bytes<size> + 2 * stages * flash_bytes<step_size>);
  struct Barriers {
    Barrier queries, keys[stages], free[stages];
  };
  BAM_DEVICE void operator()() const {
    const SegmentTile at = query_tile(a, last_first() / pack.units, pack.queries);
    const Segment g = at.segment;
    const std::int64_t unit = last_first() % pack.units, kv = pack.head(unit, 0) / a.group % a.kv_heads, past = g.k_length - g.q_length, n = smaller(pack.queries, g.q_length - at.first), queries = g.q_begin + at.first;
    const std::int64_t end = a.causal ? smaller(g.k_length, past + at.first + n) : g.k_length;
    if (!at.on) return;  // by the whole block
    Barriers& b = *shared<Barriers>();
    const std::uint32_t begin = flash_tiles(&b + 1);  // queries, their gradients of the output, then keys and values of each stage
    unsigned char* const tiles = shared<unsigned char>() + (begin - shared_address(&b));
    if (thread() == 0) {
      init_barrier(&b.queries, 1);
      for (int s = 0; s < stages; ++s) {
        init_barrier(&b.keys[s], 1);
        init_barrier(&b.free[s], 2 * warpgroup_threads / warp_lanes);
      }
      fence_barriers();
    }
    sync();
    if (thread() < warpgroup_threads) {
      give_registers<40>();
      if (thread() == 0 && end > 0) {
        arrive_expecting(&b.queries, 2 * flash_bytes<size>);
        flash_copy<size>(tiles, q, queries, pack, unit, &b.queries);
        flash_copy<size>(tiles + flash_bytes<size>, dout, queries, pack, unit, &b.queries);
        for (std::int64_t k0 = 0, step = 0; k0 < end; k0 += step_size, ++step) {
          const int s = static_cast<int>(step % stages);
          unsigned char* const to = tiles + 2 * flash_bytes<size> + 2 * s * flash_bytes<step_size>;
          wait_barrier(&b.free[s], static_cast<unsigned>(step / stages + 1) & 1u);  // the first round finds them free
          arrive_expecting(&b.keys[s], 2 * flash_bytes<step_size>);
          flash_copy<step_size>(to, k, g.k_begin + k0, kv, &b.keys[s]);
          flash_copy<step_size>(to + flash_bytes<step_size>, v, g.k_begin + k0, kv, &b.keys[s]);
        }
      }
    } else {
      take_registers<232>();
      const int t = thread() % warpgroup_threads, first = (thread() / warpgroup_threads - 1) * 64, warp_row = first + t / 32 * 16;
      const int lowest = first % pack.queries, own = warp_row % pack.queries + t % 32 / 4;  // of the warpgroup's queries; the thread's: own and own + 8
      const std::int64_t h = pack.head(unit, warp_row / pack.queries);
      const float to_power = a.scale * log2_of_e;
      float lse[2], dot[2], gate[2], total[2] = {0, 0}, dq[64] = {};  // lse: as a power of 2
      BAM_UNROLL
      for (int r = 0; r < 2; ++r) {
        const std::int64_t token = queries + (own + 8 * r < n ? own + 8 * r : 0);
        lse[r] = a.lse[h * a.rows + token] * log2_of_e;
        dot[r] = dots[h * a.rows + token];
        gate[r] = a.gate ? a.gate[token * a.gate_row + h / a.heads_per_gate] : 1.0f;
      }
      if (end > 0) wait_barrier(&b.queries, 0);
      for (std::int64_t k0 = 0, step = 0; k0 < end; k0 += step_size, ++step) {
        const int s = static_cast<int>(step % stages);
        const std::uint32_t keys = begin + static_cast<std::uint32_t>(2 * flash_bytes<size> + 2 * s * flash_bytes<step_size>);
        float x[32], dp[32];
        wait_barrier(&b.keys[s], static_cast<unsigned>(step / stages) & 1u);
        flash_both_scores<size, step_size>(x, dp, begin, first, keys);
        const std::int64_t seen_by_first = a.causal ? smaller(g.k_length, past + at.first + lowest + 1) : g.k_length;
        const bool all_seen = k0 + step_size <= seen_by_first;
        BAM_UNROLL
        for (int j = 0; j < 8; ++j)
          BAM_UNROLL
          for (int i = 0; i < 4; ++i) {
            const int r = i / 2;
            const std::int64_t key = k0 + j * 8 + t % 4 * 2 + i % 2;
            const bool hidden = !all_seen && (key >= g.k_length || (a.causal && key > past + at.first + own + 8 * r));
            const float p = hidden ? 0.0f : exp2_fast(math::fma(x[4 * j + i], to_power, 0.0f - lse[r]));
            total[r] = math::fma(p, dp[4 * j + i], total[r]);
            x[4 * j + i] = p * math::fma(gate[r], dp[4 * j + i], 0.0f - dot[r]);
          }
        FragmentA ds[4];
        BAM_UNROLL
        for (int i = 0; i < 4; ++i) ds[i] = flash_pack(x, i);
        hold(dq);
        fence_products();
        BAM_UNROLL
        for (int i = 0; i < 4; ++i) multiply<true>(dq, ds[i], flash_along_rows<step_size>(keys, i * 16));
        commit_products();
        hold(dq);
        wait_products<0>();
        hold(dq);
        if (t % warp_lanes == 0) arrive(&b.free[s]);
      }
      BAM_UNROLL
      for (int r = 0; r < 2; ++r) {
        const float sum = sum_quad(total[r]);
        const std::int64_t row = own + 8 * r, token = queries + row;
        if (row >= n) continue;
        Bf16* to = static_cast<Bf16*>(a.dq) + token * a.q_row + h * flash_head;
        BAM_UNROLL
        for (int j = 0; j < 16; ++j) set_turned_back(a, token, to, j * 8 + t % 4 * 2, dq[4 * j + 2 * r], dq[4 * j + 2 * r + 1]);
        if (t % 4 == 0) seen[h * a.rows + token] = sum;
      }
    }
  }
};

// dK and dV: a block owns 128 keys of a KV head, and after them the next, and goes over the query heads and queries of the group; scores are transposed, rows are keys.
struct WgmmaKeyGradientKernel {
  AttentionArgs a;
  const float* dots;
  TensorMap q, dout, k, v;

  static constexpr int most_threads = wgmma_threads, resident_blocks = 1, size = 128, step_size = 64, stages = flash_stages;
  static constexpr std::int64_t shared_bytes = flash_shared(2 * flash_bytes<size> + 2 * stages * flash_bytes<step_size>);
  struct Barriers {
    Barrier keys, keys_free, queries[stages], free[stages];
  };
  // Calls tile(parity of its number, its keys, its KV head) for each of the block's tiles. Numbers have 32 bits where they fit them: registers are short here.
  template <class Tile>
  BAM_DEVICE void each_tile(Tile tile) const {
    const auto kv_heads = static_cast<int>(a.kv_heads);
    const auto blocks = static_cast<int>(grid_blocks()), own = static_cast<int>(block());
    unsigned parity = 0;
    for (int round = 0;; ++round, parity ^= 1) {
      const int unit = round * blocks + (parity ? blocks - 1 - own : own);  // under a causal mask there is less and less to do, so every other round runs the other way
      const SegmentTile at = segment_tile(a, unit / kv_heads, size, [](const Segment& g) { return g.k_length; });
      if (!at.on) return;
      tile(parity, at, unit % kv_heads);
    }
  }
  // Calls with(head, first query) for each step over the queries that see keys of a tile.
  template <class With>
  BAM_DEVICE void each_step(const SegmentTile& at, int kv, With with) const {
    const Segment& g = at.segment;
    const std::int64_t past = g.k_length - g.q_length;
    const int start = a.causal && at.first > past ? static_cast<int>((at.first - past) / step_size) * step_size : 0, rows = static_cast<int>(g.q_length), heads = static_cast<int>(a.heads), group = static_cast<int>(a.group);
    for (int first = kv * group; first < heads; first += group * static_cast<int>(a.kv_heads))
      for (int h = first; h < first + group; ++h)
        for (int i0 = start; i0 < rows; i0 += step_size) with(h, i0);
  }
  BAM_DEVICE void operator()() const {
    Barriers& b = *shared<Barriers>();
    const std::uint32_t begin = flash_tiles(&b + 1);  // keys, values, then queries and gradients of the output of each stage
    unsigned char* const tiles = shared<unsigned char>() + (begin - shared_address(&b));
    if (thread() == 0) {
      init_barrier(&b.keys, 1);
      init_barrier(&b.keys_free, 2 * warpgroup_threads / warp_lanes);
      for (int s = 0; s < stages; ++s) {
        init_barrier(&b.queries[s], 1);
        init_barrier(&b.free[s], 2 * warpgroup_threads / warp_lanes);
      }
      fence_barriers();
    }
    sync();
    unsigned step = 0;  // over all tiles
    if (thread() < warpgroup_threads) {
      give_registers<24>();
      if (thread() == 0)
        each_tile([&](unsigned parity, const SegmentTile& at, int kv) {
          const Segment& g = at.segment;
          wait_barrier(&b.keys_free, parity ^ 1u);  // the first find it free
          arrive_expecting(&b.keys, 2 * flash_bytes<size>);
          flash_copy<size>(tiles, k, g.k_begin + at.first, kv, &b.keys);
          flash_copy<size>(tiles + flash_bytes<size>, v, g.k_begin + at.first, kv, &b.keys);
          each_step(at, kv, [&](int h, int i0) {
            const int s = static_cast<int>(step % stages);
            unsigned char* const to = tiles + 2 * flash_bytes<size> + 2 * s * flash_bytes<step_size>;
            wait_barrier(&b.free[s], (step++ / stages + 1) & 1u);
            arrive_expecting(&b.queries[s], 2 * flash_bytes<step_size>);
            flash_copy<step_size>(to, q, g.q_begin + i0, h, &b.queries[s]);
            flash_copy<step_size>(to + flash_bytes<step_size>, dout, g.q_begin + i0, h, &b.queries[s]);
          });
        });
    } else {
      take_registers<240>();
      const int t = thread() % warpgroup_threads, first = (thread() / warpgroup_threads - 1) * 64, own = first + t / 32 * 16 + t % 32 / 4;
      const float to_power = a.scale * log2_of_e;
      each_tile([&](unsigned parity, const SegmentTile& at, int kv) {
        const Segment& g = at.segment;
        const std::int64_t past = g.k_length - g.q_length;
        const auto keys = static_cast<int>(smaller(size, g.k_length - at.first));
        float dk[64] = {}, dv[64] = {};
        wait_barrier(&b.keys, parity);
        each_step(at, kv, [&](int h, int i0) {
          const int s = static_cast<int>(step % stages);
          const std::uint32_t tq = begin + static_cast<std::uint32_t>(2 * flash_bytes<size> + 2 * s * flash_bytes<step_size>), tdout = tq + flash_bytes<step_size>;
          float x[32], dp[32];
          wait_barrier(&b.queries[s], step++ / stages & 1u);
          flash_both_scores<size, step_size>(x, dp, begin, first, tq);
          const auto n = static_cast<int>(smaller(step_size, g.q_length - i0)), ahead = static_cast<int>(smaller(size, past + i0 - at.first));  // query q sees the keys up to q + ahead
          const bool all_seen = n == step_size && first + 64 <= keys && (!a.causal || first + 63 <= ahead);
          const float *const lse_of = a.lse + h * a.rows + g.q_begin + i0, *const dot_of = dots + h * a.rows + g.q_begin + i0, *const gate_of = a.gate ? a.gate + (g.q_begin + i0) * a.gate_row + h / static_cast<int>(a.heads_per_gate) : nullptr;
          FragmentA p[4], ds[4];
          BAM_UNROLL
          for (int f = 0; f < 4; ++f) {  // by fragments, which keeps the reads of lse and its like from being under way all at once
            BAM_UNROLL
            for (int m = 0; m < 4; ++m) {
              const int query = f * 16 + m / 2 * 8 + t % 4 * 2 + m % 2, at_query = query < n ? query : 0;
              const float gate = gate_of ? gate_of[at_query * a.gate_row] : 1.0f, low = 0.0f - lse_of[at_query] * log2_of_e, dot = dot_of[at_query];
              BAM_UNROLL
              for (int r = 0; r < 2; ++r) {
                const int i = f * 8 + m / 2 * 4 + 2 * r + m % 2, key = own + 8 * r;
                const bool hidden = !all_seen && (query >= n || key >= keys || (a.causal && key - query > ahead));
                const float w = hidden ? 0.0f : exp2_fast(math::fma(x[i], to_power, low));
                x[i] = w * gate;
                dp[i] = w * math::fma(gate, dp[i], 0.0f - dot);
              }
            }
            p[f] = flash_pack(x, f);
            ds[f] = flash_pack(dp, f);
          }
          hold(dv);
          hold(dk);
          fence_products();
          BAM_UNROLL
          for (int i = 0; i < 4; ++i) {
            multiply<true>(dv, p[i], flash_along_rows<step_size>(tdout, i * 16));
            multiply<true>(dk, ds[i], flash_along_rows<step_size>(tq, i * 16));
          }
          commit_products();
          hold(dv);
          hold(dk);
          wait_products<0>();
          hold(dv);
          hold(dk);
          if (t % warp_lanes == 0) arrive(&b.free[s]);
        });
        if (t % warp_lanes == 0) arrive(&b.keys_free);
        BAM_UNROLL
        for (int r = 0; r < 2; ++r) {
          if (own + 8 * r >= keys) continue;
          const std::int64_t row = g.k_begin + at.first + own + 8 * r, column = kv * flash_head + t % 4 * 2;
          BAM_UNROLL
          for (int j = 0; j < 16; ++j) {
            set_turned_back(a, row, static_cast<Bf16*>(a.dk) + row * a.k_row + kv * flash_head, j * 8 + t % 4 * 2, dk[4 * j + 2 * r], dk[4 * j + 2 * r + 1]);
            set_pair(static_cast<Bf16*>(a.dv) + row * a.v_row + column + j * 8, dv[4 * j + 2 * r], dv[4 * j + 2 * r + 1]);
          }
        }
      });
    }
  }
};

// A tile reads rows beyond its segment, which weigh 0 and must be there and finite: those of one packed batch are.
inline bool attention_wgmma_takes(const AttentionArgs& a) {
  return a.head_dim == flash_head && a.key_rows > 0 && a.rows > 0 && a.scale > 0 && attention_mma_takes(a);
}
inline TensorMap flash_map(const void* p, std::int64_t rows, std::int64_t heads, std::int64_t ld, int box_rows) { return tensor_map(p, rows, heads * flash_head, ld, box_rows); }
inline void attention_forward_wgmma(const Exec& exec, const AttentionArgs& a) {
  using Kernel = WgmmaForwardKernel;
  const HeadPack pack = HeadPack::of(a, Kernel::size);
  launch(exec, {query_tiles(a, pack.queries) * pack.units, wgmma_threads},
         Kernel{a, pack, flash_map(a.q, a.rows, a.heads, a.q_row, pack.queries), flash_map(a.k, a.key_rows, a.kv_heads, a.k_row, Kernel::size), flash_map(a.v, a.key_rows, a.kv_heads, a.v_row, Kernel::size)});
}
inline void attention_backward_wgmma(const Exec& exec, const AttentionArgs& a, const float* dots, float* seen) {
  auto queries = [&](int box_rows) { return flash_map(a.q, a.rows, a.heads, a.q_row, box_rows); };
  auto gradients = [&](int box_rows) { return flash_map(a.dout, a.rows, a.heads, a.dout_row, box_rows); };
  auto keys = [&](int box_rows) { return flash_map(a.k, a.key_rows, a.kv_heads, a.k_row, box_rows); };
  auto values = [&](int box_rows) { return flash_map(a.v, a.key_rows, a.kv_heads, a.v_row, box_rows); };
  using ForQueries = WgmmaQueryGradientKernel;
  using ForKeys = WgmmaKeyGradientKernel;
  const HeadPack pack = HeadPack::of(a, ForQueries::size);
  launch(exec, {query_tiles(a, pack.queries) * pack.units, wgmma_threads},
         ForQueries{a, pack, dots, seen, queries(pack.queries), gradients(pack.queries), keys(ForQueries::step_size), values(ForQueries::step_size)});
  launch(exec, {multiprocessors(), wgmma_threads}, ForKeys{a, dots, queries(ForKeys::step_size), gradients(ForKeys::step_size), keys(ForKeys::size), values(ForKeys::size)});
}

}  // namespace bam::cuda
