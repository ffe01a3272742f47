// Attention over packed sequences, flash-style, with grouped KV heads and per-token gates on heads; with gates it is the
// whole soft mixture of attention (BAM, arXiv 2408.08274). qkv (N, (heads + 2 kv_heads) D) = [q | k | v],
// gates (N, G), out (N, heads D); qkv and out in F32 or BF16. Forward saves qkv, gates, out and the log-sum-exp of each row.
#pragma once
#include <algorithm>
#include <memory>

#include "rope.hpp"

namespace bam {

struct AttentionShape {
  std::int64_t heads = 1, kv_heads = 1, head_dim = 0;
  std::int64_t group = 0;  // query head h reads KV head (h / group) % kv_heads; 0: heads / kv_heads
  bool causal = true;
  float scale = 0;  // 0: 1 / sqrt(head_dim)
};
// Which tokens see which. Copies share the list, and the copy of it that a device reads.
class Segments {
 public:
  Segments() : Segments(std::vector<Segment>()) {}
  Segments(std::vector<Segment> list) : shared_(std::make_shared<Shared>(Shared{std::move(list), {}})) {}
  const std::vector<Segment>& list() const { return shared_->list; }
  // Another list of as many segments, for all copies; the device's copy stays where it is.
  void replace(const std::vector<Segment>& list) {
    check(list.size() == shared_->list.size(), "attention.segments", "segments: ", list.size(), " in the place of ", shared_->list.size());
    shared_->list = list;
    if (shared_->copy.defined()) copy_bytes(shared_->copy.raw(), shared_->copy.device(), list.data(), Device::cpu, shared_->copy.numel());
  }
  // Where kernels of the device find it.
  const Segment* address(Device d) const {
    if (d == Device::cpu) return list().data();
    if (!shared_->copy.defined()) {
      const auto n = static_cast<std::int64_t>(list().size() * sizeof(Segment));
      shared_->copy = Tensor({n}, DType::u8, d);
      copy_bytes(shared_->copy.raw(), d, list().data(), Device::cpu, n);
    }
    return static_cast<const Segment*>(shared_->copy.raw());
  }

 private:
  struct Shared {
    std::vector<Segment> list;
    Tensor copy;
  };
  std::shared_ptr<Shared> shared_;
};

// Sequences of these lengths, one after the other.
inline Segments segments(const std::vector<std::int64_t>& lengths) {
  std::vector<Segment> s;
  std::int64_t at = 0;
  for (std::int64_t n : lengths) {
    s.push_back({at, n, at, n});
    at += n;
  }
  return s;
}

namespace detail {
inline AttentionArgs attention_args(const AttentionShape& shape, const Segments& segments, std::int64_t rows, Device device, DType dtype) {
  check(shape.heads > 0 && shape.kv_heads > 0 && shape.head_dim > 0, "attention.shape", "attention: ", shape.heads, " heads, ", shape.kv_heads, " kv heads of ", shape.head_dim);
  std::int64_t group = shape.group ? shape.group : shape.heads / shape.kv_heads;
  check(group > 0 && shape.heads % group == 0 && (shape.heads / group) % shape.kv_heads == 0, "attention.group",
        "attention: ", shape.heads, " heads in groups of ", group, " over ", shape.kv_heads, " kv heads");
  check(dtype == DType::f32 || dtype == DType::bf16, "attention.dtype", "attention: qkv is of ", name_of(dtype), ", wanted F32 or BF16");
  AttentionArgs a;
  a.dtype = dtype;
  a.causal = shape.causal;
  a.segments = static_cast<std::int64_t>(segments.list().size());
  a.segment = segments.address(device);
  a.rows = rows;
  a.heads = shape.heads;
  a.kv_heads = shape.kv_heads;
  a.group = group;
  a.head_dim = shape.head_dim;
  a.scale = shape.scale != 0 ? shape.scale : 1.0f / math::sqrt(static_cast<float>(shape.head_dim));
  a.out_row = a.dout_row = shape.heads * shape.head_dim;
  return a;
}
// Each row is in the range of one segment.
inline void check_cover(const char* of, const Segments& segments, std::int64_t Segment::*begin, std::int64_t Segment::*length, std::int64_t rows) {
  std::vector<Segment> list;
  for (const Segment& s : segments.list())
    if (s.*length > 0) list.push_back(s);
  auto before = [=](const Segment& a, const Segment& b) { return a.*begin < b.*begin; };
  if (!std::is_sorted(list.begin(), list.end(), before)) std::sort(list.begin(), list.end(), before);
  std::int64_t covered = 0;
  for (const Segment& s : list) {
    check(s.*begin == covered, "attention.segment", "attention: a segment begins at ", of, s.*begin, ", those before it end at ", covered);
    covered += s.*length;
  }
  check(covered == rows, "attention.segment", "attention: segments end at ", of, covered, " of ", rows);
}
// own_keys: none shares its keys with another, which gradients need.
inline void check_segments(const Segments& segments, std::int64_t q_rows, std::int64_t k_rows, bool own_keys) {
  for (const Segment& s : segments.list())
    check(s.q_begin >= 0 && s.q_length >= 0 && s.q_begin <= q_rows - s.q_length && s.k_begin >= 0 && s.k_length >= s.q_length && s.k_begin <= k_rows - s.k_length,
          "attention.segment", "attention: segment (", s.q_begin, ", ", s.q_length, ", ", s.k_begin, ", ", s.k_length, ") of ", q_rows, " queries and ", k_rows, " keys");
  check_cover("query ", segments, &Segment::q_begin, &Segment::q_length, q_rows);
  if (own_keys) check_cover("key ", segments, &Segment::k_begin, &Segment::k_length, k_rows);
}
inline void set_gates(AttentionArgs& a, const Tensor& gates) {
  if (!gates.defined()) return;
  check(gates.rows() == a.rows && gates.columns() > 0 && a.heads % gates.columns() == 0, "attention.gates", "attention: gates are ", to_string(gates.shape()), " for ", a.rows, " rows and ", a.heads, " heads");
  a.gate = gates.address();
  a.gate_row = gates.columns();
  a.heads_per_gate = a.heads / gates.columns();
}
}  // namespace detail

// Self-attention on packed projections. Undefined gates mean 1. turned: what qkv_projection turned queries and keys by without turning the gradient back; then that is done here.
inline Tensor attention(const Tensor& qkv, const Tensor& gates, const AttentionShape& shape, const Segments& segments, const Rope& turned = {}) {
  std::int64_t n = qkv.rows(), d = shape.head_dim, width = (shape.heads + 2 * shape.kv_heads) * d;
  check(qkv.columns() == width, "attention.shape", "attention: qkv has ", qkv.columns(), " columns, wanted ", width);
  const Device device = detail::device_of("attention", qkv, gates);
  AttentionArgs a = detail::attention_args(shape, segments, n, device, qkv.dtype());
  const bool recorded = Tape::active() && (qkv.wants_grad() || gates.wants_grad());
  detail::check_segments(segments, n, n, recorded);
  if (turned.table.defined()) detail::check_rope(turned, n);
  a.key_rows = n;
  detail::set_gates(a, gates);
  Tensor out({n, shape.heads * d}, qkv.dtype(), device), lse({shape.heads, n}, DType::f32, device);
  const std::int64_t k_at = shape.heads * d, v_at = k_at + shape.kv_heads * d;
  a.q = qkv.raw();
  a.k = element(qkv.raw(), k_at, a.dtype);
  a.v = element(qkv.raw(), v_at, a.dtype);
  a.q_row = a.k_row = a.v_row = width;
  a.out = out.raw();
  a.lse = lse.address();
  kernel::attention_forward(a, device);
  if (turned.table.defined()) a.turned = turned.rotation();
  record({qkv, gates.defined() ? gates : qkv}, {out}, [a, qkv, gates, segments, turned, out = out.detach(), lse, g = out.gradient(), k_at, v_at]() mutable {
    a.dout = g->data<void>();
    Gradient own(qkv.device(), qkv.dtype());
    void* dqkv = own.target<void>(qkv.numel()).first;
    a.dq = dqkv;
    a.dk = element(dqkv, k_at, a.dtype);
    a.dv = element(dqkv, v_at, a.dtype);
    Gradient gate_gradient(qkv.device());
    if (gates.defined()) a.dgate = gate_gradient.target(gates.numel()).first;
    kernel::attention_backward(a, qkv.device());
    if (qkv.wants_grad()) qkv.gradient()->absorb(own, qkv.numel());
    if (gates.defined() && gates.wants_grad()) gates.gradient()->absorb(gate_gradient, gates.numel());
  });
  return out;
}

// Keys and values of earlier tokens: one cache per layer, (capacity, kv_heads D) each. Forward only.
struct KvCache {
  Tensor k, v;
};
// The new rows of qkv are copied to cache rows `cache_row` (N, I64, on the CPU); segments say which cache rows each sequence sees.
inline Tensor cached_attention(const Tensor& qkv, const Tensor& gates, const AttentionShape& shape, const Segments& segments,
                               KvCache& cache, const Tensor& cache_row) {
  std::int64_t n = qkv.rows(), d = shape.head_dim, width = (shape.heads + 2 * shape.kv_heads) * d, kv = shape.kv_heads * d;
  check(qkv.columns() == width, "attention.shape", "attention: qkv has ", qkv.columns(), " columns, wanted ", width);
  check(cache_row.numel() == n, "attention.cache", "attention: ", cache_row.numel(), " cache rows for ", n, " tokens");
  const Device device = detail::device_of("attention", qkv, gates, cache.k, cache.v);
  AttentionArgs a = detail::attention_args(shape, segments, n, device, qkv.dtype());
  check(cache.k.rank() > 0 && cache.k.columns() == kv && cache.v.shape() == cache.k.shape(), "attention.cache", "attention: a cache of ", to_string(cache.k.shape()), " and ", to_string(cache.v.shape()), ", wanted rows of ", kv);
  detail::check_segments(segments, n, cache.k.rows(), false);
  std::int64_t k_at = shape.heads * d;
  check(cache.k.dtype() == qkv.dtype() && cache.v.dtype() == qkv.dtype(), "attention.cache", "attention: a cache of ", name_of(cache.k.dtype()), " for qkv of ", name_of(qkv.dtype()));
  detail::set_gates(a, gates);
  const std::int64_t size = size_of(qkv.dtype()), *at = cache_row.data<std::int64_t>();
  for (std::int64_t i = 0; i < n; ++i) check(at[i] >= 0 && at[i] < cache.k.rows(), "attention.cache", "attention: cache row ", at[i], " of ", cache.k.rows());
  for (std::int64_t i = 0, run; i < n; i += run) {  // rows that follow each other at one go
    for (run = 1; i + run < n && at[i + run] == at[i] + run;) ++run;
    for (auto [to, from] : {std::pair(&cache.k, k_at), std::pair(&cache.v, k_at + kv)})
      copy_rows(element(to->raw(), at[i] * kv, a.dtype), device, kv * size, element(qkv.raw(), i * width + from, a.dtype), device, width * size, kv * size, run);
  }
  Tensor out({n, shape.heads * d}, qkv.dtype(), device), lse({shape.heads, n}, DType::f32, device);
  a.q = qkv.raw();
  a.q_row = width;
  a.k = cache.k.raw();
  a.v = cache.v.raw();
  a.k_row = a.v_row = kv;
  a.out = out.raw();
  a.lse = lse.address();
  kernel::attention_forward(a, device);
  return out;
}

}  // namespace bam
