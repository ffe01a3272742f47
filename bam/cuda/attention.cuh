// Attention, flash-style, with grouped KV heads and gates; formulas and sources in cpu/attention.inl, and its bits: a score is one chain over the head, a row's maximum and
// sum go over key tiles of 64 from the segment's first key, an output is a chain over keys. On the plain cores, fp32, and bf16 of any shape; bf16 with heads of 32, 64
// or 128 goes to the tensor cores (attention_mma.cuh, attention_wgmma.cuh).
// Forward and dQ: a block owns 16 queries of a head, a warp 4 of them; a lane has the keys l and l + 32 of a tile, then the columns l, l + 32 ... of the head.
// dK and dV: a block owns 16 keys of a KV head and goes over its query heads, then queries; nothing is added across blocks.
#pragma once
#include "attention_mma.cuh"
#include "attention_tiles.cuh"
#include "attention_wgmma.cuh"

namespace bam::cuda {

inline constexpr int attention_queries = 16, attention_keys = 64, attention_threads = 128, attention_warps = attention_threads / warp_lanes;

template <class T>
BAM_DEVICE const T* of(const void* p) {
  return static_cast<const T*>(p);
}
template <class T>
BAM_DEVICE T* of(void* p) {
  return static_cast<T*>(p);
}
// rows x head_dim into shared memory, by the whole block, times `by`.
template <class T>
BAM_DEVICE void load_rows(float* to, const T* from, std::int64_t stride, std::int64_t rows, std::int64_t d, float by) {
  for (std::int64_t n = thread(); n < rows * d; n += block_threads()) to[n] = by * value(from[n / d * stride + n % d]);
}
BAM_DEVICE float dot(const float* x, const float* y, std::int64_t d) {
  float s = 0;
  for (std::int64_t j = 0; j < d; ++j) s = math::fma(x[j], y[j], s);
  return s;
}

// Shared memory of a kernel here grows with the channels of a head; its table has that of 128.
inline constexpr std::int64_t attention_forward_bytes(std::int64_t d) { return ((attention_keys + 2 * attention_queries) * d + attention_queries * attention_keys) * static_cast<std::int64_t>(sizeof(float)); }
template <class T>
struct AttentionForwardKernel {
  static constexpr std::int64_t shared_bytes = attention_forward_bytes(128);
  AttentionArgs a;
  BAM_DEVICE void operator()() const {
    const SegmentTile at = query_tile(a, block() / a.heads, attention_queries);
    if (!at.on) return;
    const Segment g = at.segment;
    const std::int64_t d = a.head_dim, h = block() % a.heads, kv = h / a.group % a.kv_heads, past = g.k_length - g.q_length;
    const std::int64_t n = smaller(attention_queries, g.q_length - at.first), end = a.causal ? smaller(g.k_length, past + at.first + n) : g.k_length;
    const int lane = thread() % warp_lanes, own = thread() / warp_lanes;  // queries own, own + 4 ...
    float *tile = shared<float>(), *q = tile + attention_keys * d, *o = q + attention_queries * d, *p = o + attention_queries * d;
    load_rows(q, of<T>(a.q) + (g.q_begin + at.first) * a.q_row + h * d, a.q_row, n, d, a.scale);
    constexpr int mine = attention_queries / attention_warps;
    float m[mine], l[mine];
    for (int i = 0; i < mine; ++i) m[i] = -3e38f, l[i] = 0;  // finite, so that e^(old - new) is 0 and never NaN while a row has seen no key
    for (std::int64_t k0 = 0; k0 < end; k0 += attention_keys) {
      const std::int64_t keys = smaller(attention_keys, end - k0);
      sync();
      load_rows(tile, of<T>(a.k) + (g.k_begin + k0) * a.k_row + kv * d, a.k_row, keys, d, 1.0f);
      sync();
      float fix[mine];
      for (int i = 0; i < mine; ++i) {
        const std::int64_t row = own + i * attention_warps;
        float* s = p + row * attention_keys;
        for (std::int64_t k = lane; k < keys && row < n; k += warp_lanes) s[k] = a.causal && k0 + k > past + at.first + row ? -__builtin_inff() : dot(tile + k * d, q + row * d, d);
        sync_warp();
        float top = m[i];
        for (std::int64_t k = 0; k < keys && row < n; ++k) top = math::maximum(top, s[k]);
        fix[i] = math::exp(m[i] - top);
        sync_warp();
        for (std::int64_t k = lane; k < keys && row < n; k += warp_lanes) s[k] = math::exp(s[k] - top);
        sync_warp();
        float total = l[i] * fix[i];
        for (std::int64_t k = 0; k < keys && row < n; ++k) total = total + s[k];
        m[i] = top;
        l[i] = total;
      }
      sync();
      load_rows(tile, of<T>(a.v) + (g.k_begin + k0) * a.v_row + kv * d, a.v_row, keys, d, 1.0f);
      sync();
      for (int i = 0; i < mine; ++i) {
        const std::int64_t row = own + i * attention_warps;
        for (std::int64_t j = lane; j < d && row < n; j += warp_lanes) {
          float x = k0 > 0 ? o[row * d + j] : 0.0f;
          if (k0 > 0 && fix[i] != 1.0f) x = x * fix[i];
          for (std::int64_t k = 0; k < keys; ++k) x = math::fma(p[row * attention_keys + k], tile[k * d + j], x);
          o[row * d + j] = x;
        }
      }
    }
    for (int i = 0; i < mine; ++i) {
      const std::int64_t row = own + i * attention_warps, token = g.q_begin + at.first + row;
      if (row >= n) continue;
      const float inverse = l[i] == 0.0f ? 0.0f : 1.0f / l[i], f = a.gate ? inverse * a.gate[token * a.gate_row + h / a.heads_per_gate] : inverse;
      for (std::int64_t j = lane; j < d; j += warp_lanes) set(of<T>(a.out)[token * a.out_row + h * d + j], l[i] == 0.0f ? 0.0f : o[row * d + j] * f);
      if (a.lse && lane == 0) a.lse[h * a.rows + token] = m[i] + math::log(l[i]);
    }
  }
};
// Which of the ways of bf16 serves.
inline bool attention_by_wgmma(const AttentionArgs& a) { return by_warpgroups() && attention_wgmma_takes(a); }
inline bool attention_by_mma(const AttentionArgs& a) { return !portable() && attention_mma_takes(a); }
inline void attention_forward(const Exec& exec, const AttentionArgs& a) {
  const Grid grid{query_tiles(a, attention_queries) * a.heads, attention_threads, attention_forward_bytes(a.head_dim)};
  if (a.dtype == DType::f32) return launch(exec, grid, AttentionForwardKernel<float>{a});
  if (attention_by_wgmma(a)) return attention_forward_wgmma(exec, a);
  if (attention_by_mma(a)) return attention_forward_mma(exec, a);
  launch(exec, grid, AttentionForwardKernel<Bf16>{a});
}

// dot (heads, rows) = dout . out, sixteen lanes a row.
template <class T>
struct AttentionDotKernel {
  AttentionArgs a;
  float* dots;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(a.heads * a.rows);
    const std::int64_t h = at.row / a.rows, token = at.row % a.rows, d = at.on ? a.head_dim : 0;
    const T *x = of<T>(a.dout) + token * a.dout_row + h * a.head_dim, *y = of<T>(a.out) + token * a.out_row + h * a.head_dim;
    float t = 0;
    for (std::int64_t j = at.lane; j < d; j += row_lanes) t = math::fma(value(x[j]), value(y[j]), t);
    t = sum_lanes(t);
    if (at.on && at.lane == 0) dots[at.row] = t;
  }
};

// dQ, and seen (heads, rows) = the sum over keys of P dP, of which the gate's gradient comes.
template <class T>
struct AttentionQueryGradientKernel {
  AttentionArgs a;
  const float* dots;
  float* seen;
  static constexpr std::int64_t bytes(std::int64_t d) { return ((attention_keys + 3 * attention_queries) * d + 2 * attention_queries * attention_keys) * static_cast<std::int64_t>(sizeof(float)); }
  static constexpr std::int64_t shared_bytes = bytes(128);
  BAM_DEVICE void operator()() const {
    const SegmentTile at = query_tile(a, block() / a.heads, attention_queries);
    if (!at.on) return;
    const Segment g = at.segment;
    const std::int64_t d = a.head_dim, h = block() % a.heads, kv = h / a.group % a.kv_heads, past = g.k_length - g.q_length;
    const std::int64_t n = smaller(attention_queries, g.q_length - at.first), end = a.causal ? smaller(g.k_length, past + at.first + n) : g.k_length;
    const int lane = thread() % warp_lanes, own = thread() / warp_lanes;
    float *tile = shared<float>(), *q = tile + attention_keys * d, *dout = q + attention_queries * d, *dq = dout + attention_queries * d, *p = dq + attention_queries * d, *dp = p + attention_queries * attention_keys;
    const std::int64_t begin = g.q_begin + at.first;
    load_rows(q, of<T>(a.q) + begin * a.q_row + h * d, a.q_row, n, d, a.scale);
    load_rows(dout, of<T>(a.dout) + begin * a.dout_row + h * d, a.dout_row, n, d, 1.0f);
    constexpr int mine = attention_queries / attention_warps;
    float total[mine];
    for (int i = 0; i < mine; ++i) total[i] = 0;
    for (std::int64_t k0 = 0; k0 < end; k0 += attention_keys) {
      const std::int64_t keys = smaller(attention_keys, end - k0);
      auto each = [&](auto f) {  // f(query, key), lanes over keys
        for (int i = 0; i < mine; ++i)
          for (std::int64_t row = own + i * attention_warps, k = lane; k < keys && row < n; k += warp_lanes) f(row, k);
      };
      sync();
      load_rows(tile, of<T>(a.k) + (g.k_begin + k0) * a.k_row + kv * d, a.k_row, keys, d, 1.0f);
      sync();
      each([&](std::int64_t row, std::int64_t k) {
        p[row * attention_keys + k] = a.causal && k0 + k > past + at.first + row ? 0.0f : math::exp(dot(tile + k * d, q + row * d, d) - a.lse[h * a.rows + begin + row]);
      });
      sync();
      load_rows(tile, of<T>(a.v) + (g.k_begin + k0) * a.v_row + kv * d, a.v_row, keys, d, 1.0f);
      sync();
      each([&](std::int64_t row, std::int64_t k) { dp[row * attention_keys + k] = dot(tile + k * d, dout + row * d, d); });
      sync();
      for (int i = 0; i < mine; ++i)
        for (std::int64_t row = own + i * attention_warps, k = 0; k < keys && row < n; ++k) total[i] = math::fma(p[row * attention_keys + k], dp[row * attention_keys + k], total[i]);
      sync();
      each([&](std::int64_t row, std::int64_t k) {
        const std::int64_t token = begin + row;
        const float gate = a.gate ? a.gate[token * a.gate_row + h / a.heads_per_gate] : 1.0f;
        p[row * attention_keys + k] *= math::fma(gate, dp[row * attention_keys + k], 0.0f - dots[h * a.rows + token]);
      });
      load_rows(tile, of<T>(a.k) + (g.k_begin + k0) * a.k_row + kv * d, a.k_row, keys, d, a.scale);
      sync();
      for (int i = 0; i < mine; ++i)
        for (std::int64_t row = own + i * attention_warps, j = lane; j < d && row < n; j += warp_lanes) {
          float x = k0 > 0 ? dq[row * d + j] : 0.0f;
          for (std::int64_t k = 0; k < keys; ++k) x = math::fma(p[row * attention_keys + k], tile[k * d + j], x);
          dq[row * d + j] = x;
        }
    }
    for (int i = 0; i < mine; ++i) {
      const std::int64_t row = own + i * attention_warps;
      if (row >= n) continue;
      for (std::int64_t j = lane; j < d; j += warp_lanes) set(of<T>(a.dq)[(begin + row) * a.q_row + h * d + j], end > 0 ? dq[row * d + j] : 0.0f);
      if (lane == 0) seen[h * a.rows + begin + row] = total[i];
    }
  }
};

template <class T>
struct AttentionKeyGradientKernel {
  AttentionArgs a;
  const float* dots;
  static constexpr int own_keys = 16, queries = 32;
  static constexpr std::int64_t bytes(std::int64_t d) { return ((4 * own_keys + 2 * queries) * d + 2 * own_keys * queries) * static_cast<std::int64_t>(sizeof(float)); }
  static constexpr std::int64_t shared_bytes = bytes(128);
  BAM_DEVICE void operator()() const {
    for (std::int64_t unit = block();; unit += grid_blocks()) {
      const SegmentTile at = segment_tile(a, unit / a.kv_heads, own_keys, [](const Segment& g) { return g.k_length; });
      if (!at.on) return;
      sync();  // the last tile is written out
      tile(at, unit % a.kv_heads);
    }
  }
  BAM_DEVICE void tile(const SegmentTile& at, std::int64_t kv) const {
    const Segment g = at.segment;
    const std::int64_t d = a.head_dim, past = g.k_length - g.q_length, keys = smaller(own_keys, g.k_length - at.first), t = thread();
    float *k = shared<float>(), *v = k + own_keys * d, *dk = v + own_keys * d, *dv = dk + own_keys * d, *q = dv + own_keys * d, *dout = q + queries * d, *p = dout + queries * d, *ds = p + own_keys * queries;
    load_rows(k, of<T>(a.k) + (g.k_begin + at.first) * a.k_row + kv * d, a.k_row, keys, d, 1.0f);
    load_rows(v, of<T>(a.v) + (g.k_begin + at.first) * a.v_row + kv * d, a.v_row, keys, d, 1.0f);
    for (std::int64_t i = t; i < own_keys * d; i += attention_threads) dk[i] = dv[i] = 0;
    const std::int64_t start = a.causal && at.first > past ? (at.first - past) / queries * queries : 0;  // no query before it sees these keys
    for (std::int64_t h = 0; h < a.heads; ++h) {
      if (h / a.group % a.kv_heads != kv) continue;
      for (std::int64_t i0 = start; i0 < g.q_length; i0 += queries) {
        const std::int64_t n = smaller(queries, g.q_length - i0), begin = g.q_begin + i0;
        sync();
        load_rows(q, of<T>(a.q) + begin * a.q_row + h * d, a.q_row, n, d, a.scale);
        load_rows(dout, of<T>(a.dout) + begin * a.dout_row + h * d, a.dout_row, n, d, 1.0f);
        sync();
        for (std::int64_t i = t; i < keys * queries; i += attention_threads) {
          const std::int64_t key = i / queries, query = i % queries, token = begin + query;
          if (query >= n) continue;
          const float gate = a.gate ? a.gate[token * a.gate_row + h / a.heads_per_gate] : 1.0f;
          const bool hidden = a.causal && at.first + key > past + i0 + query;
          const float w = hidden ? 0.0f : math::exp(dot(k + key * d, q + query * d, d) - a.lse[h * a.rows + token]);
          p[i] = w;
          ds[i] = w * math::fma(gate, dot(v + key * d, dout + query * d, d), 0.0f - dots[h * a.rows + token]);
        }
        sync();
        if (a.gate)
          for (std::int64_t i = t; i < n * d; i += attention_threads) dout[i] = a.gate[(begin + i / d) * a.gate_row + h / a.heads_per_gate] * dout[i];
        sync();
        for (std::int64_t i = t; i < keys * d; i += attention_threads) {
          const std::int64_t key = i / d, j = i % d;
          float x = dk[i], y = dv[i];
          for (std::int64_t query = 0; query < n; ++query) {
            y = math::fma(p[key * queries + query], dout[query * d + j], y);
            x = math::fma(ds[key * queries + query], q[query * d + j], x);
          }
          dk[i] = x;
          dv[i] = y;
        }
      }
    }
    for (std::int64_t i = t; i < keys * d; i += attention_threads) {
      const std::int64_t row = g.k_begin + at.first + i / d, column = kv * d + i % d;
      set(of<T>(a.dk)[row * a.k_row + column], dk[i]);
      set(of<T>(a.dv)[row * a.v_row + column], dv[i]);
    }
  }
};

struct AttentionGateGradientKernel {
  AttentionArgs a;
  const float* seen;
  BAM_DEVICE void operator()() const {
    const SegmentTile at = query_tile(a, block(), attention_queries);
    const std::int64_t gates = a.heads / a.heads_per_gate;
    if (!at.on) return;
    for (std::int64_t i = thread(); i < smaller(attention_queries, at.segment.q_length - at.first) * gates; i += block_threads()) {
      const std::int64_t token = at.segment.q_begin + at.first + i / gates, e = i % gates;
      float total = 0;
      for (std::int64_t h = 0; h < a.heads_per_gate; ++h) total += seen[(e * a.heads_per_gate + h) * a.rows + token];
      a.dgate[token * gates + e] = total;
    }
  }
};

template <class T>
void attention_backward_of(const Exec& exec, const AttentionArgs& a) {
  auto* dots = static_cast<float*>(exec.scratch(exec.pool, exec.workers, static_cast<std::size_t>(2 * a.heads * a.rows) * sizeof(float)));
  float* seen = dots + a.heads * a.rows;
  using QueryGradient = AttentionQueryGradientKernel<T>;
  using KeyGradient = AttentionKeyGradientKernel<T>;
  launch(exec, row_grid(a.heads * a.rows), AttentionDotKernel<T>{a, dots});
  if (std::is_same_v<T, Bf16> && attention_by_wgmma(a)) {
    attention_backward_wgmma(exec, a, dots, seen);
  } else if (std::is_same_v<T, Bf16> && attention_by_mma(a)) {
    attention_backward_mma(exec, a, dots, seen);
  } else {
    launch(exec, {query_tiles(a, attention_queries) * a.heads, attention_threads, QueryGradient::bytes(a.head_dim)}, QueryGradient{a, dots, seen});
    launch(exec, {8 * multiprocessors(), attention_threads, KeyGradient::bytes(a.head_dim)}, KeyGradient{a, dots});
  }
  if (a.dgate) launch(exec, {query_tiles(a, attention_queries), attention_threads}, AttentionGateGradientKernel{a, seen});
}
inline void attention_backward(const Exec& exec, const AttentionArgs& a) {
  if (a.turned.positions && !(a.dtype == DType::bf16 && TurnPairs::takes(a.turned) && (attention_by_wgmma(a) || attention_by_mma(a)))) {
    AttentionArgs plain = a;
    plain.turned = {};
    attention_backward(exec, plain);
    rope(exec, rope_args(a.turned, a.dtype, a.rows, a.heads, a.dq, a.q_row, true));
    return rope(exec, rope_args(a.turned, a.dtype, a.rows, a.kv_heads, a.dk, a.k_row, true));
  }
  a.dtype == DType::f32 ? attention_backward_of<float>(exec, a) : attention_backward_of<Bf16>(exec, a);
}

}  // namespace bam::cuda
