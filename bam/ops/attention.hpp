// Attention over packed sequences, flash-style, with grouped KV heads and per-token gates on heads; with gates it is the
// whole soft mixture of attention (BAM, arXiv 2408.08274). qkv (N, (heads + 2 kv_heads) D) = [q | k | v],
// gates (N, G), out (N, heads D). Forward saves qkv, gates, out and the log-sum-exp of each row.
#pragma once
#include <memory>

#include "../tensor/tape.hpp"

namespace bam {

struct AttentionShape {
  std::int64_t heads = 1, kv_heads = 1, head_dim = 0;
  std::int64_t group = 0;  // query head h reads KV head (h / group) % kv_heads; 0: heads / kv_heads
  bool causal = true;
  float scale = 0;  // 0: 1 / sqrt(head_dim)
};
using Segments = std::shared_ptr<const std::vector<Segment>>;

// Sequences of these lengths, one after the other.
inline Segments segments(const std::vector<std::int64_t>& lengths) {
  auto s = std::make_shared<std::vector<Segment>>();
  std::int64_t at = 0;
  for (std::int64_t n : lengths) {
    s->push_back({at, n, at, n});
    at += n;
  }
  return s;
}

namespace detail {
inline AttentionArgs attention_args(const AttentionShape& shape, const Segments& segments, std::int64_t rows) {
  check(shape.heads > 0 && shape.kv_heads > 0 && shape.head_dim > 0, "attention.shape", "attention: ", shape.heads, " heads, ", shape.kv_heads, " kv heads of ", shape.head_dim);
  std::int64_t group = shape.group ? shape.group : shape.heads / shape.kv_heads;
  check(group > 0 && shape.heads % group == 0 && (shape.heads / group) % shape.kv_heads == 0, "attention.group",
        "attention: ", shape.heads, " heads in groups of ", group, " over ", shape.kv_heads, " kv heads");
  AttentionArgs a;
  a.causal = shape.causal;
  a.segments = static_cast<std::int64_t>(segments->size());
  a.segment = segments->data();
  a.rows = rows;
  a.heads = shape.heads;
  a.kv_heads = shape.kv_heads;
  a.group = group;
  a.head_dim = shape.head_dim;
  a.scale = shape.scale != 0 ? shape.scale : 1.0f / math::sqrt(static_cast<float>(shape.head_dim));
  a.out_row = a.dout_row = shape.heads * shape.head_dim;
  return a;
}
inline void check_segments(const Segments& segments, std::int64_t q_rows, std::int64_t k_rows) {
  std::int64_t covered = 0;
  for (const Segment& s : *segments) {
    check(s.q_begin >= 0 && s.q_length >= 0 && s.q_begin + s.q_length <= q_rows && s.k_begin >= 0 && s.k_length >= s.q_length &&
              s.k_begin + s.k_length <= k_rows,
          "attention.segment", "attention: segment (", s.q_begin, ", ", s.q_length, ", ", s.k_begin, ", ", s.k_length, ") of ", q_rows, " queries and ", k_rows, " keys");
    covered += s.q_length;
  }
  check(covered == q_rows, "attention.segment", "attention: segments cover ", covered, " of ", q_rows, " queries");
}
}  // namespace detail

// Self-attention on packed projections. Undefined gates mean 1.
inline Tensor attention(const Tensor& qkv, const Tensor& gates, const AttentionShape& shape, const Segments& segments) {
  std::int64_t n = qkv.rows(), d = shape.head_dim, width = (shape.heads + 2 * shape.kv_heads) * d;
  check(qkv.columns() == width, "attention.shape", "attention: qkv has ", qkv.columns(), " columns, wanted ", width);
  AttentionArgs a = detail::attention_args(shape, segments, n);
  detail::check_segments(segments, n, n);
  if (gates.defined()) {
    check(gates.rows() == n && shape.heads % gates.columns() == 0, "attention.gates", "attention: gates are ", to_string(gates.shape()), " for ", n, " rows and ", shape.heads, " heads");
    a.gate = gates.data();
    a.gate_row = gates.columns();
    a.heads_per_gate = shape.heads / gates.columns();
  }
  Tensor out({n, shape.heads * d}), lse({shape.heads, n});
  std::int64_t k_at = shape.heads * d, v_at = k_at + shape.kv_heads * d;
  a.q = qkv.data();
  a.k = qkv.data() + k_at;
  a.v = qkv.data() + v_at;
  a.q_row = a.k_row = a.v_row = width;
  a.out = out.raw();
  a.lse = lse.data();
  kernel::attention_forward(a);
  record({qkv, gates.defined() ? gates : qkv}, {out}, [a, qkv, gates, segments, out = out.detach(), lse, g = out.gradient(), k_at, v_at]() mutable {
    a.dout = g->data();
    Gradient own;
    float* dqkv = own.target(qkv.numel()).first;
    a.dq = dqkv;
    a.dk = dqkv + k_at;
    a.dv = dqkv + v_at;
    Gradient gate_gradient;
    if (gates.defined()) a.dgate = gate_gradient.target(gates.numel()).first;
    kernel::attention_backward(a);
    if (qkv.wants_grad()) qkv.gradient()->absorb(own, qkv.numel());
    if (gates.defined() && gates.wants_grad()) gates.gradient()->absorb(gate_gradient, gates.numel());
  });
  return out;
}

// Keys and values of earlier tokens: one cache per layer, (capacity, kv_heads D) each. Forward only.
struct KvCache {
  Tensor k, v;
};
// The new rows of qkv are copied to cache rows `cache_row` (N, I64); segments say which cache rows each sequence sees.
inline Tensor cached_attention(const Tensor& qkv, const Tensor& gates, const AttentionShape& shape, const Segments& segments,
                               KvCache& cache, const Tensor& cache_row) {
  std::int64_t n = qkv.rows(), d = shape.head_dim, width = (shape.heads + 2 * shape.kv_heads) * d, kv = shape.kv_heads * d;
  check(qkv.columns() == width, "attention.shape", "attention: qkv has ", qkv.columns(), " columns, wanted ", width);
  check(cache_row.numel() == n, "attention.cache", "attention: ", cache_row.numel(), " cache rows for ", n, " tokens");
  AttentionArgs a = detail::attention_args(shape, segments, n);
  detail::check_segments(segments, n, cache.k.rows());
  std::int64_t k_at = shape.heads * d;
  const std::int64_t* at = cache_row.data<std::int64_t>();
  for (std::int64_t i = 0; i < n; ++i) {
    check(at[i] >= 0 && at[i] < cache.k.rows(), "attention.cache", "attention: cache row ", at[i], " of ", cache.k.rows());
    std::memcpy(cache.k.data() + at[i] * kv, qkv.data() + i * width + k_at, static_cast<std::size_t>(kv) * 4);
    std::memcpy(cache.v.data() + at[i] * kv, qkv.data() + i * width + k_at + kv, static_cast<std::size_t>(kv) * 4);
  }
  if (gates.defined()) {
    a.gate = gates.data();
    a.gate_row = gates.columns();
    a.heads_per_gate = shape.heads / gates.columns();
  }
  Tensor out({n, shape.heads * d}), lse({shape.heads, n});
  a.q = qkv.data();
  a.q_row = width;
  a.k = cache.k.data();
  a.v = cache.v.data();
  a.k_row = a.v_row = kv;
  a.out = out.raw();
  a.lse = lse.data();
  kernel::attention_forward(a);
  return out;
}

}  // namespace bam
