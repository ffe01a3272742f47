// Attention in bf16 on tensor cores (mma.sync), flash-style: cpu/attention.inl has formulas and sources.
// Forward: a block owns 64 queries of a head, or fewer of some heads that share their keys, a warp 16 of them; scores, their softmax and the output stay in registers, and a score's fragment is,
// rounded to bf16, the next product's operand. K and V come in tiles of 64 keys by asynchronous copies: V while the scores are computed, the next K while they multiply V.
// Backward: one kernel for dQ, a warp 16 of a block's 64 queries, over the keys; one for dK and dV, a warp 16 of a block's 64 keys, over the query heads and queries of the group. Both compute the scores again; nothing is added across blocks.
#pragma once
#include "attention_tiles.cuh"
#include "device.cuh"
#include "path.cuh"
#include "rope.cuh"

namespace bam::cuda {

inline constexpr int flash_queries = 64, flash_keys = 64, flash_threads = 128;

// Where chunk `chunk` (16 bytes) of row `row` of a tile of D columns lies, in bytes: eight rows of a column of chunks meet in no bank.
template <int D>
BAM_INLINE int flash_place(int row, int chunk) {
  return row * D * 2 + (D == 32 ? chunk ^ (row >> 1 & 3) : chunk ^ (row & 7)) * 16;
}
// Starts the copies of a tile of `size` rows; from `rows` on they are zeros.
template <int D, int size = 64>
BAM_DEVICE void flash_load(unsigned char* to, const Bf16* from, std::int64_t stride, std::int64_t rows) {
  for (int n = thread(); n < size * D / 8; n += flash_threads) {
    const int row = n / (D / 8), chunk = n % (D / 8);
    copy_async(to + flash_place<D>(row, chunk), row < rows ? from + row * stride + chunk * 8 : from, row < rows);
  }
}
// That of the queries of a unit's heads, n of each.
template <int D>
BAM_DEVICE void flash_load(unsigned char* to, const Bf16* from, std::int64_t stride, std::int64_t n, const HeadPack& pack, std::int64_t unit) {
  for (int i = 0; i < pack.heads; ++i) {
    const Bf16* const head = from + pack.head(unit, i) * D;
    for (int m = thread(); m < pack.queries * D / 8; m += flash_threads) {
      const int query = m / (D / 8), chunk = m % (D / 8);
      copy_async(to + flash_place<D>(i * pack.queries + query, chunk), query < n ? head + query * stride + chunk * 8 : from, query < n);
    }
  }
}
// Of the four lanes that share a row of a fragment.
BAM_DEVICE float max_quad(float x) {
  x = larger(x, shuffle_xor(x, 1));
  return larger(x, shuffle_xor(x, 2));
}
BAM_DEVICE float sum_quad(float x) {
  x = x + shuffle_xor(x, 1);
  return x + shuffle_xor(x, 2);
}
// The fragments of a tile: a, of 16 rows from `row`, 16 columns from `column`, as the left operand; b, as the right one: 16 rows, the product's columns, by 16 along k; or, transposed, 16 rows along k by 16 of the product's columns.
template <int D>
BAM_DEVICE FragmentA flash_left(const unsigned char* tile, int row, int column) {
  const int lane = thread() % warp_lanes, matrix = lane / 8, r = lane % 8;
  FragmentA a;
  load_matrices<false>(a.r, tile + flash_place<D>(row + matrix % 2 * 8 + r, column / 8 + matrix / 2));
  return a;
}
struct FragmentPair {
  FragmentB first, second;
};
template <int D, bool transposed>
BAM_DEVICE FragmentPair flash_right(const unsigned char* tile, int row, int column) {
  const int lane = thread() % warp_lanes, matrix = lane / 8, r = lane % 8;
  std::uint32_t both[4];
  load_matrices<transposed>(both, tile + (transposed ? flash_place<D>(row + matrix % 2 * 8 + r, column / 8 + matrix / 2) : flash_place<D>(row + matrix / 2 * 8 + r, column / 8 + matrix % 2)));
  return {{{both[0], both[1]}}, {{both[2], both[3]}}};
}
// Two neighbouring fragments of a result as the left operand of a product over their 16 columns.
BAM_DEVICE FragmentA as_left(const FragmentC& x, const FragmentC& y) { return {{pack(x.v[0], x.v[1]), pack(x.v[2], x.v[3]), pack(y.v[0], y.v[1]), pack(y.v[2], y.v[3])}}; }

// A lane's part of the output of a token and head: of each 8 columns two, numbered j and c, of which `unscaled` has the sums of weights and values; sum: of the weights.
template <int D, class Unscaled>
BAM_DEVICE void flash_store(const AttentionArgs& a, std::int64_t h, std::int64_t token, float sum, float lse, Unscaled unscaled) {
  const int quad = thread() % 4;
  const float inverse = sum == 0.0f ? 0.0f : 1.0f / sum, f = a.gate ? inverse * a.gate[token * a.gate_row + h / a.heads_per_gate] : inverse;
  Bf16* to = static_cast<Bf16*>(a.out) + token * a.out_row + h * D;
  BAM_UNROLL
  for (int j = 0; j < D / 8; ++j) set_pair(to + j * 8 + quad * 2, sum == 0.0f ? 0.0f : unscaled(j, 0) * f, sum == 0.0f ? 0.0f : unscaled(j, 1) * f);
  if (a.lse && quad == 0) a.lse[h * a.rows + token] = lse;
}

template <int D>
struct FlashForwardKernel {
  AttentionArgs a;
  HeadPack pack;
  static constexpr int most_threads = flash_threads, resident_blocks = D == 128 ? 2 : 3;
  static constexpr std::int64_t tile_bytes = 64 * D * 2, shared_bytes = 3 * tile_bytes;

  BAM_DEVICE void operator()() const {
    const SegmentTile at = query_tile(a, last_first() / pack.units, pack.queries);
    if (!at.on) return;  // by the whole block
    const Segment g = at.segment;
    const int lane = thread() % warp_lanes, warp = thread() / warp_lanes, own = warp * 16 % pack.queries + lane / 4;  // the lane's queries: own and own + 8
    const std::int64_t unit = last_first() % pack.units, h = pack.head(unit, warp * 16 / pack.queries), kv = h / a.group % a.kv_heads, past = g.k_length - g.q_length, n = smaller(pack.queries, g.q_length - at.first);
    const std::int64_t end = a.causal ? smaller(g.k_length, past + at.first + n) : g.k_length;
    unsigned char *const tq = shared<unsigned char>(), *const tk = tq + tile_bytes, *const tv = tk + tile_bytes;
    const Bf16 *q = static_cast<const Bf16*>(a.q) + (g.q_begin + at.first) * a.q_row, *k = static_cast<const Bf16*>(a.k) + g.k_begin * a.k_row + kv * D, *v = static_cast<const Bf16*>(a.v) + g.k_begin * a.v_row + kv * D;
    flash_load<D>(tq, q, a.q_row, n, pack, unit);
    if (end > 0) flash_load<D>(tk, k, a.k_row, end);
    commit_copies();
    wait_copies<0>();
    sync();
    FragmentA fq[D / 16];
    BAM_UNROLL
    for (int d = 0; d < D / 16; ++d) fq[d] = flash_left<D>(tq, warp * 16, d * 16);
    FragmentC out[D / 8] = {};
    float top[2] = {-3e38f, -3e38f}, total[2] = {0, 0};  // of rows lane / 4 and that + 8; finite, so that e^(old - new) is never NaN
    for (std::int64_t k0 = 0; k0 < end; k0 += flash_keys) {
      const int keys = static_cast<int>(smaller(flash_keys, end - k0));
      int seen_keys[2];  // of this tile, by the lane's queries
      BAM_UNROLL
      for (int i = 0; i < 2; ++i) seen_keys[i] = a.causal ? static_cast<int>(smaller(keys, past + at.first + own + i * 8 + 1 - k0)) : keys;
      flash_load<D>(tv, v + k0 * a.v_row, a.v_row, keys);  // its readers of the last tile are behind the barrier below, or the one above
      commit_copies();
      FragmentC s[flash_keys / 8] = {};
      BAM_UNROLL
      for (int d = 0; d < D / 16; ++d)
        BAM_UNROLL
        for (int j = 0; j < flash_keys / 8; j += 2) {
          const FragmentPair b = flash_right<D, false>(tk, j * 8, d * 16);
          mma(s[j], fq[d], b.first);
          mma(s[j + 1], fq[d], b.second);
        }
      float high[2] = {top[0], top[1]};
      BAM_UNROLL
      for (int j = 0; j < flash_keys / 8; ++j)
        BAM_UNROLL
        for (int i = 0; i < 4; ++i) {
          const bool hidden = j * 8 + lane % 4 * 2 + i % 2 >= seen_keys[i / 2];
          s[j].v[i] = hidden ? -__builtin_inff() : s[j].v[i] * a.scale;
          high[i / 2] = larger(high[i / 2], s[j].v[i]);
        }
      float fix[2];
      BAM_UNROLL
      for (int i = 0; i < 2; ++i) {
        high[i] = max_quad(high[i]);
        fix[i] = math::exp(top[i] - high[i]);
        top[i] = high[i];
        total[i] = total[i] * fix[i];
      }
      BAM_UNROLL
      for (int j = 0; j < flash_keys / 8; ++j)
        BAM_UNROLL
        for (int i = 0; i < 4; ++i) {
          s[j].v[i] = math::exp(s[j].v[i] - top[i / 2]);
          total[i / 2] = total[i / 2] + s[j].v[i];  // the lane's own columns; the four are added at the end
        }
      BAM_UNROLL
      for (int j = 0; j < D / 8; ++j)
        BAM_UNROLL
        for (int i = 0; i < 4; ++i) out[j].v[i] = out[j].v[i] * fix[i / 2];
      wait_copies<0>();
      sync();  // V is there, and all are done with K
      if (k0 + flash_keys < end) flash_load<D>(tk, k + (k0 + flash_keys) * a.k_row, a.k_row, end - k0 - flash_keys);
      commit_copies();
      BAM_UNROLL
      for (int t = 0; t < flash_keys / 16; ++t) {
        const FragmentA p = as_left(s[2 * t], s[2 * t + 1]);
        BAM_UNROLL
        for (int j = 0; j < D / 8; j += 2) {
          const FragmentPair b = flash_right<D, true>(tv, t * 16, j * 8);
          mma(out[j], p, b.first);
          mma(out[j + 1], p, b.second);
        }
      }
      wait_copies<0>();
      sync();  // the next K is there, and all are done with V
    }
    BAM_UNROLL
    for (int i = 0; i < 2; ++i) {
      const float sum = sum_quad(total[i]);
      const std::int64_t row = own + i * 8;
      if (row < n) flash_store<D>(a, h, g.q_begin + at.first + row, sum, top[i] + math::log(sum), [&](int j, int c) { return out[j].v[i * 2 + c]; });
    }
  }
};

// A gradient of queries or keys, `column` and the next of a head of a row: scaled, turned back and stored.
BAM_DEVICE void set_turned_back(const AttentionArgs& a, std::int64_t row, Bf16* head, std::int64_t column, float x, float y) {
  x = x * a.scale;
  y = y * a.scale;
  if (a.turned.positions) TurnPairs{a.turned, a.head_dim, true}(row, column, x, y);
  set_pair(head + column, x, y);
}

// dQ, and seen (heads, rows) = the sum over keys of P dP, of which the gate's gradient comes. dots (heads, rows) = dout . out.
template <int D>
struct FlashQueryGradientKernel {
  AttentionArgs a;
  HeadPack pack;
  const float* dots;
  float* seen;
  static constexpr int most_threads = flash_threads, resident_blocks = D == 32 ? 3 : 2;
  static constexpr std::int64_t tile_bytes = 64 * D * 2, shared_bytes = 4 * tile_bytes;

  BAM_DEVICE void operator()() const {
    const SegmentTile at = query_tile(a, last_first() / pack.units, pack.queries);
    if (!at.on) return;  // by the whole block
    const Segment g = at.segment;
    const int lane = thread() % warp_lanes, warp = thread() / warp_lanes, own = warp * 16 % pack.queries + lane / 4;
    const int n = static_cast<int>(smaller(pack.queries, g.q_length - at.first));
    const std::int64_t unit = last_first() % pack.units, h = pack.head(unit, warp * 16 / pack.queries), kv = h / a.group % a.kv_heads, past = g.k_length - g.q_length, begin = g.q_begin + at.first;
    const std::int64_t end = a.causal ? smaller(g.k_length, past + at.first + n) : g.k_length;
    unsigned char *const tq = shared<unsigned char>(), *const tdout = tq + tile_bytes, *const tk = tdout + tile_bytes, *const tv = tk + tile_bytes;
    flash_load<D>(tq, static_cast<const Bf16*>(a.q) + begin * a.q_row, a.q_row, n, pack, unit);
    flash_load<D>(tdout, static_cast<const Bf16*>(a.dout) + begin * a.dout_row, a.dout_row, n, pack, unit);
    const int seen_by_own = static_cast<int>(past + at.first) + own + 1;  // causal
    float lse[2], dot[2], gate[2], total[2] = {0, 0};
    BAM_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int row = own + i * 8;
      const std::int64_t token = begin + (row < n ? row : 0);
      lse[i] = a.lse[h * a.rows + token];
      dot[i] = dots[h * a.rows + token];
      gate[i] = a.gate ? a.gate[token * a.gate_row + h / a.heads_per_gate] : 1.0f;
    }
    FragmentC dq[D / 8] = {};
    for (std::int64_t k0 = 0; k0 < end; k0 += flash_keys) {
      const int keys = static_cast<int>(smaller(flash_keys, end - k0));
      int seen_keys[2];  // of this tile, by the lane's queries
      BAM_UNROLL
      for (int i = 0; i < 2; ++i) seen_keys[i] = a.causal ? static_cast<int>(smaller(keys, seen_by_own + i * 8 - static_cast<int>(k0))) : keys;
      flash_load<D>(tk, static_cast<const Bf16*>(a.k) + (g.k_begin + k0) * a.k_row + kv * D, a.k_row, keys);
      flash_load<D>(tv, static_cast<const Bf16*>(a.v) + (g.k_begin + k0) * a.v_row + kv * D, a.v_row, keys);
      commit_copies();
      wait_copies<0>();
      sync();
      FragmentC s[flash_keys / 8] = {}, dp[flash_keys / 8] = {};
      BAM_UNROLL
      for (int d = 0; d < D; d += 16) {
        const FragmentA fq = flash_left<D>(tq, warp * 16, d), fd = flash_left<D>(tdout, warp * 16, d);
        BAM_UNROLL
        for (int j = 0; j < flash_keys / 8; j += 2) {
          const FragmentPair bk = flash_right<D, false>(tk, j * 8, d), bv = flash_right<D, false>(tv, j * 8, d);
          mma(s[j], fq, bk.first);
          mma(s[j + 1], fq, bk.second);
          mma(dp[j], fd, bv.first);
          mma(dp[j + 1], fd, bv.second);
        }
      }
      BAM_UNROLL
      for (int j = 0; j < flash_keys / 8; ++j)
        BAM_UNROLL
        for (int i = 0; i < 4; ++i) {
          const bool hidden = j * 8 + lane % 4 * 2 + i % 2 >= seen_keys[i / 2];
          const float p = hidden ? 0.0f : math::exp(s[j].v[i] * a.scale - lse[i / 2]);
          total[i / 2] = math::fma(p, dp[j].v[i], total[i / 2]);
          s[j].v[i] = p * math::fma(gate[i / 2], dp[j].v[i], 0.0f - dot[i / 2]);
        }
      sync_warp();
      BAM_UNROLL
      for (int t = 0; t < flash_keys / 16; ++t) {
        const FragmentA ds = as_left(s[2 * t], s[2 * t + 1]);
        BAM_UNROLL
        for (int j = 0; j < D / 8; j += 2) {
          const FragmentPair b = flash_right<D, true>(tk, t * 16, j * 8);
          mma(dq[j], ds, b.first);
          mma(dq[j + 1], ds, b.second);
        }
      }
      sync();  // all are done with K and V
    }
    commit_copies();
    wait_copies<0>();  // where there was no key, those of the queries are still under way
    BAM_UNROLL
    for (int i = 0; i < 2; ++i) {
      const float sum = sum_quad(total[i]);
      const int row = own + i * 8;
      const std::int64_t token = begin + row;
      if (row >= n) continue;
      Bf16* to = static_cast<Bf16*>(a.dq) + token * a.q_row + h * D;
      BAM_UNROLL
      for (int j = 0; j < D / 8; ++j) set_turned_back(a, token, to, j * 8 + lane % 4 * 2, dq[j].v[i * 2], dq[j].v[i * 2 + 1]);
      if (lane % 4 == 0) seen[h * a.rows + token] = sum;
    }
  }
};

template <int D>
struct FlashKeyGradientKernel {
  AttentionArgs a;
  const float* dots;
  static constexpr int queries = D == 128 ? 16 : 32;  // at a time: two results of D columns are in registers
  static constexpr std::int64_t tile_bytes = 64 * D * 2, query_bytes = queries * D * 2, shared_bytes = 2 * tile_bytes + 2 * query_bytes;

  BAM_DEVICE void operator()() const {
    for (std::int64_t unit = block();; unit += grid_blocks()) {
      const SegmentTile at = segment_tile(a, unit / a.kv_heads, flash_keys, [](const Segment& g) { return g.k_length; });
      if (!at.on) return;  // by the whole block
      tile(at, unit % a.kv_heads);
    }
  }
  BAM_DEVICE void tile(const SegmentTile& at, std::int64_t kv) const {
    const Segment g = at.segment;
    const std::int64_t past = g.k_length - g.q_length, keys = smaller(flash_keys, g.k_length - at.first), first = g.k_begin + at.first;
    unsigned char *const tk = shared<unsigned char>(), *const tv = tk + tile_bytes, *const tq = tv + tile_bytes, *const tdout = tq + query_bytes;
    const int lane = thread() % warp_lanes, warp = thread() / warp_lanes;
    sync();  // all are done with the last tile
    flash_load<D>(tk, static_cast<const Bf16*>(a.k) + first * a.k_row + kv * D, a.k_row, keys);
    flash_load<D>(tv, static_cast<const Bf16*>(a.v) + first * a.v_row + kv * D, a.v_row, keys);
    commit_copies();
    FragmentC dk[D / 8] = {}, dv[D / 8] = {};
    const std::int64_t start = a.causal && at.first > past ? (at.first - past) / queries * queries : 0;  // no query before it sees these keys
    for (std::int64_t h = 0; h < a.heads; ++h) {
      if (h / a.group % a.kv_heads != kv) continue;
      for (std::int64_t i0 = start; i0 < g.q_length; i0 += queries) {
        const std::int64_t n = smaller(queries, g.q_length - i0), begin = g.q_begin + i0;
        sync();  // all are done with the last queries
        flash_load<D, queries>(tq, static_cast<const Bf16*>(a.q) + begin * a.q_row + h * D, a.q_row, n);
        flash_load<D, queries>(tdout, static_cast<const Bf16*>(a.dout) + begin * a.dout_row + h * D, a.dout_row, n);
        commit_copies();
        wait_copies<0>();
        sync();
        FragmentC s[queries / 8] = {}, dp[queries / 8] = {};  // transposed: rows are keys
        BAM_UNROLL
        for (int d = 0; d < D; d += 16) {
          const FragmentA fk = flash_left<D>(tk, warp * 16, d), fv = flash_left<D>(tv, warp * 16, d);
          BAM_UNROLL
          for (int j = 0; j < queries / 8; j += 2) {
            const FragmentPair bq = flash_right<D, false>(tq, j * 8, d), bd = flash_right<D, false>(tdout, j * 8, d);
            mma(s[j], fk, bq.first);
            mma(s[j + 1], fk, bq.second);
            mma(dp[j], fv, bd.first);
            mma(dp[j + 1], fv, bd.second);
          }
        }
        BAM_UNROLL
        for (int j = 0; j < queries / 8; ++j)
          BAM_UNROLL
          for (int i = 0; i < 4; ++i) {
            const std::int64_t query = j * 8 + lane % 4 * 2 + i % 2, key = warp * 16 + lane / 4 + i / 2 * 8, token = begin + (query < n ? query : 0);
            const bool hidden = query >= n || key >= keys || (a.causal && at.first + key > past + i0 + query);
            const float gate = a.gate ? a.gate[token * a.gate_row + h / a.heads_per_gate] : 1.0f;
            const float lse = a.lse[h * a.rows + token], dot = dots[h * a.rows + token];
            const float p = hidden ? 0.0f : math::exp(s[j].v[i] * a.scale - lse);
            s[j].v[i] = p * gate;
            dp[j].v[i] = p * math::fma(gate, dp[j].v[i], 0.0f - dot);
          }
        sync_warp();
        BAM_UNROLL
        for (int t = 0; t < queries / 16; ++t) {
          const FragmentA p = as_left(s[2 * t], s[2 * t + 1]), ds = as_left(dp[2 * t], dp[2 * t + 1]);
          BAM_UNROLL
          for (int j = 0; j < D / 8; j += 2) {
            const FragmentPair bd = flash_right<D, true>(tdout, t * 16, j * 8), bq = flash_right<D, true>(tq, t * 16, j * 8);
            mma(dv[j], p, bd.first);
            mma(dv[j + 1], p, bd.second);
            mma(dk[j], ds, bq.first);
            mma(dk[j + 1], ds, bq.second);
          }
        }
      }
    }
    wait_copies<0>();  // where there was no query, those of the keys are still under way
    BAM_UNROLL
    for (int r = 0; r < 2; ++r) {
      const std::int64_t key = warp * 16 + lane / 4 + r * 8, column = kv * D + lane % 4 * 2;
      if (key >= keys) continue;
      BAM_UNROLL
      for (int j = 0; j < D / 8; ++j) {
        set_turned_back(a, first + key, static_cast<Bf16*>(a.dk) + (first + key) * a.k_row + kv * D, j * 8 + lane % 4 * 2, dk[j].v[2 * r], dk[j].v[2 * r + 1]);
        set_pair(static_cast<Bf16*>(a.dv) + (first + key) * a.v_row + column + j * 8, dv[j].v[2 * r], dv[j].v[2 * r + 1]);
      }
    }
  }
};

inline bool attention_mma_takes(const AttentionArgs& a) {
  const std::int64_t d = a.head_dim;
  return (d == 32 || d == 64 || d == 128) && aligned_lines(a.q, a.q_row, d) && aligned_lines(a.k, a.k_row, d) && aligned_lines(a.v, a.v_row, d) && aligned_lines(a.out, a.out_row, d) && aligned_lines(a.dq, 0, 0) && aligned_lines(a.dk, 0, 0) && aligned_lines(a.dv, 0, 0) &&
         (!a.dout || aligned_lines(a.dout, a.dout_row, d));
}
template <int D>
void flash_forward(const Exec& exec, const AttentionArgs& a) {
  const HeadPack pack = HeadPack::of(a, flash_queries);
  launch(exec, {query_tiles(a, pack.queries) * pack.units, flash_threads}, FlashForwardKernel<D>{a, pack});
}
inline void attention_forward_mma(const Exec& exec, const AttentionArgs& a) {
  if (a.head_dim == 32) flash_forward<32>(exec, a);
  else if (a.head_dim == 64) flash_forward<64>(exec, a);
  else flash_forward<128>(exec, a);
}

template <int D>
void flash_backward(const Exec& exec, const AttentionArgs& a, const float* dots, float* seen) {
  const HeadPack pack = HeadPack::of(a, flash_queries);
  launch(exec, {query_tiles(a, pack.queries) * pack.units, flash_threads}, FlashQueryGradientKernel<D>{a, pack, dots, seen});
  launch(exec, {2 * multiprocessors(), flash_threads}, FlashKeyGradientKernel<D>{a, dots});
}
inline void attention_backward_mma(const Exec& exec, const AttentionArgs& a, const float* dots, float* seen) {
  if (a.head_dim == 32) flash_backward<32>(exec, a, dots, seen);
  else if (a.head_dim == 64) flash_backward<64>(exec, a, dots, seen);
  else flash_backward<128>(exec, a, dots, seen);
}

}  // namespace bam::cuda
