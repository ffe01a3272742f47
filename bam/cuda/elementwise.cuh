// Elementwise, copies over strided views, reductions, constants; formulas in cpu/elementwise.inl. A thread an element of the result.
#pragma once
#include "device.cuh"

namespace bam::cuda {

BAM_DEVICE float sine(float x, bool cosine) {  // in double, because float has no digits left after a reduction by pi / 2
  if (!(math::abs(x) < __builtin_inff())) return x - x;
  const math::SinCos v = math::sincos(static_cast<double>(x));
  return static_cast<float>(cosine ? v.cos : v.sin);
}
BAM_DEVICE float unary_value(Unary op, float x) {
  switch (op) {
    case Unary::copy: return x;
    case Unary::neg: return x * -1.0f;
    case Unary::exp: return math::exp(x);
    case Unary::log: return math::log(x);
    case Unary::sqrt: return math::sqrt(x);
    case Unary::tanh: return math::tanh(x);
    case Unary::sigmoid: return math::sigmoid(x);
    case Unary::silu: return math::silu(x);
    case Unary::gelu: return math::gelu(x);
    case Unary::relu: return math::maximum(0.0f, x);
    case Unary::square: return x * x;
    case Unary::softplus: return math::softplus(x);
    case Unary::abs: return math::abs(x);
    case Unary::reciprocal: return 1.0f / x;
    case Unary::sin: return sine(x, false);
    case Unary::cos: return sine(x, true);
  }
  return 0;
}
BAM_DEVICE float unary_slope(Unary op, float x) {
  switch (op) {
    case Unary::copy: return 1.0f;
    case Unary::neg: return -1.0f;
    case Unary::exp: return math::exp(x);
    case Unary::log: return 1.0f / x;
    case Unary::sqrt: return 0.5f / math::sqrt(x);
    case Unary::tanh: {
      const float t = math::tanh(x);
      return 1.0f - t * t;
    }
    case Unary::sigmoid: {
      const float t = math::sigmoid(x);
      return t * (1.0f - t);
    }
    case Unary::silu: return math::silu_gradient(x);
    case Unary::gelu: return math::gelu_gradient(x);
    case Unary::relu: return x > 0.0f ? 1.0f : 0.0f;
    case Unary::square: return x + x;
    case Unary::softplus: return math::sigmoid(x);
    case Unary::abs: return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f;
    case Unary::reciprocal: {
      const float t = 1.0f / x;
      return t * t * -1.0f;
    }
    case Unary::sin: return sine(x, true);
    case Unary::cos: return sine(x, false) * -1.0f;
  }
  return 0;
}
struct UnaryForwardKernel {
  UnaryArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index();
    if (i < s.n) f32(s.y)[i] = math::fma(unary_value(s.op, f32(s.x)[i]), s.scale, s.shift);
  }
};
struct UnaryBackwardKernel {
  UnaryArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index();
    if (i < s.n) put(f32(s.dx) + i, f32(s.dy)[i] * s.scale * unary_slope(s.op, f32(s.x)[i]), s.write == Write::add);
  }
};
inline void unary_forward(const Exec& exec, const UnaryArgs& s) { launch(exec, flat_grid(s.n), UnaryForwardKernel{s}); }
inline void unary_backward(const Exec& exec, const UnaryArgs& s) { launch(exec, flat_grid(s.n), UnaryBackwardKernel{s}); }

inline std::int64_t elements(int rank, const std::int64_t* shape) {
  std::int64_t n = 1;
  for (int d = 0; d < rank; ++d) n *= shape[d];
  return n;
}

struct BinaryKernel {
  BinaryArgs s;
  std::int64_t n;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index();
    if (i >= n) return;
    std::int64_t rest = i, at_a = 0, at_b = 0;
    for (int d = s.rank - 1; d >= 0; --d) {
      at_a += rest % s.shape[d] * s.a_stride[d];
      at_b += rest % s.shape[d] * s.b_stride[d];
      rest /= s.shape[d];
    }
    const float a = f32(s.a)[at_a], b = f32(s.b)[at_b];
    float v = 0;
    switch (s.op) {
      case Binary::add: v = a + b; break;
      case Binary::sub: v = a - b; break;
      case Binary::mul: v = a * b; break;
      case Binary::div: v = a / b; break;
      case Binary::maximum: v = a == a ? math::maximum(a, b) : a; break;  // a NaN on either side comes through
      case Binary::minimum: v = a == a ? math::minimum(a, b) : a; break;
      case Binary::greater: v = a > b ? 1.0f : 0.0f; break;
      case Binary::equal: v = a == b ? 1.0f : 0.0f; break;
    }
    put(f32(s.y) + i, v * s.scale, s.write == Write::add);
  }
};
inline void binary(const Exec& exec, const BinaryArgs& s) {
  const std::int64_t n = elements(s.rank, s.shape);
  launch(exec, flat_grid(n), BinaryKernel{s, n});
}

// The axes along which y has stride 0 (the backward of a broadcast) are walked by one thread, in order: a chain for each element of y.
template <class T>
struct CopyKernel {
  CopyArgs s;
  std::int64_t own, repeats;  // elements of y; visits of each
  BAM_DEVICE bool repeated(int d) const { return s.y_stride[d] == 0 && s.shape[d] > 1; }
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index();
    if (i >= own) return;
    std::int64_t rest = i, from = 0, to = 0;
    for (int d = s.rank - 1; d >= 0; --d) {
      if (repeated(d)) continue;
      from += rest % s.shape[d] * s.x_stride[d];
      to += rest % s.shape[d] * s.y_stride[d];
      rest /= s.shape[d];
    }
    const T* x = static_cast<const T*>(s.x);
    T* y = static_cast<T*>(s.y) + to;
    T total = s.write == Write::add ? *y : T{};
    for (std::int64_t r = 0; r < repeats; ++r) {
      std::int64_t left = r, at = from;
      for (int d = s.rank - 1; d >= 0; --d) {
        if (!repeated(d)) continue;
        at += left % s.shape[d] * s.x_stride[d];
        left /= s.shape[d];
      }
      total = s.write == Write::add ? static_cast<T>(total + x[at]) : x[at];
    }
    *y = total;
  }
};
// Both dense and in the same order.
template <class T>
struct DenseCopyKernel {
  static constexpr int each = 16 / static_cast<int>(sizeof(T));
  const T* x;
  T* y;
  std::int64_t n;
  bool add;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index() * each;
    if (i >= n) return;
    Few<T, each> all = *reinterpret_cast<const Few<T, each>*>(x + i), *const to = reinterpret_cast<Few<T, each>*>(y + i);
    if (add) {
      const Few<T, each> before = *to;
      BAM_UNROLL
      for (int v = 0; v < each; ++v) all.v[v] = static_cast<T>(before.v[v] + all.v[v]);
    }
    *to = all;
  }
};
inline bool dense(const CopyArgs& s) {
  std::int64_t n = 1;
  for (int d = s.rank - 1; d >= 0; --d) {
    if (s.shape[d] != 1 && (s.x_stride[d] != n || s.y_stride[d] != n)) return false;
    n *= s.shape[d];
  }
  return true;
}
inline void copy(const Exec& exec, const CopyArgs& s) {
  std::int64_t own = 1, repeats = 1;
  for (int d = 0; d < s.rank; ++d) (s.y_stride[d] == 0 && s.shape[d] > 1 ? repeats : own) *= s.shape[d];
  if (repeats == 0) return;
  auto run = [&]<class T>(T) {
    using Dense = DenseCopyKernel<T>;
    if (dense(s) && own % Dense::each == 0 && aligned_lines(s.x, 0, 0) && aligned_lines(s.y, 0, 0)) launch(exec, flat_grid(own / Dense::each), Dense{static_cast<const T*>(s.x), static_cast<T*>(s.y), own, s.write == Write::add});
    else launch(exec, flat_grid(own), CopyKernel<T>{s, own, repeats});
  };
  switch (size_of(s.dtype)) {  // whatever the type: only floats are ever added
    case 1: return run(std::uint8_t{});
    case 2: return run(std::uint16_t{});
    case 4: return s.dtype == DType::f32 ? run(float{}) : run(std::uint32_t{});
    default: return run(std::uint64_t{});
  }
}

// The larger, or NaN if either is.
BAM_DEVICE float max_step(float total, float x) { return x == x ? math::maximum(x, total) : x; }

struct ReduceRowKernel {
  ReduceArgs s;
  BAM_DEVICE void operator()() const {
    const RowLane at = row_lane(s.outer);
    const float *x = f32(s.x) + at.row * s.n, infinity = __builtin_inff();
    const bool sums = s.op == Reduce::sum;
    float total = sums ? 0.0f : -infinity;
    for (std::int64_t c = at.lane; c < (at.on ? s.n : 0); c += row_lanes) total = sums ? total + x[c] : max_step(total, x[c]);
    if (sums) {
      total = sum_lanes(total);
    } else {
      const int first = thread() % warp_lanes / row_lanes * row_lanes;
      float result = shuffle(total, first);
      for (int i = 1; i < row_lanes; ++i) result = max_step(result, shuffle(total, first + i));
      total = result;
    }
    if (at.on && at.lane == 0) put(f32(s.y) + at.row, total * s.scale, s.write == Write::add);
  }
};
struct ReduceColumnKernel {  // a chain over n; a sum goes on from y when it adds
  ReduceArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index();
    if (i >= s.outer * s.inner) return;
    const float* x = f32(s.x) + i / s.inner * s.n * s.inner + i % s.inner;
    float* y = f32(s.y) + i;
    const bool sums = s.op == Reduce::sum, add = s.write == Write::add;
    float total = !sums ? -__builtin_inff() : add ? *y : 0.0f;
    for (std::int64_t k = 0; k < s.n; ++k) total = sums ? math::fma(x[k * s.inner], s.scale, total) : max_step(total, x[k * s.inner]);
    if (sums) *y = total;
    else put(y, total * s.scale, add);
  }
};
inline void reduce(const Exec& exec, const ReduceArgs& s) {
  if (s.inner == 1) launch(exec, row_grid(s.outer), ReduceRowKernel{s});
  else launch(exec, flat_grid(s.outer * s.inner), ReduceColumnKernel{s});
}

template <class X, class Y, int V>
struct CastKernel {
  CastArgs s;
  BAM_DEVICE void operator()() const {
    const std::int64_t i = flat_index() * V;
    if (i >= s.n) return;
    float x[V];
    load_few(static_cast<const X*>(s.x) + i, x);
    store_few(static_cast<Y*>(s.y) + i, x, s.write == Write::add);
  }
};
inline void cast(const Exec& exec, const CastArgs& s) {
  const bool aligned = aligned_lines(s.x, 0, s.n) && aligned_lines(s.y, 0, s.n);
  with_type(s.from, [&]<class X>(X) { with_type(s.to, [&]<class Y>(Y) { with_width(aligned, [&](auto v) { launch(exec, flat_grid(s.n / v), CastKernel<X, Y, v>{s}); }); }); });
}

template <class T>
struct FillKernel {
  T* y;
  std::int64_t n;
  T value;
  BAM_DEVICE void operator()() const {
    if (const std::int64_t i = flat_index(); i < n) y[i] = value;
  }
};
inline void fill(const Exec& exec, const FillArgs& s) {
  auto run = [&](auto value) { launch(exec, flat_grid(s.n), FillKernel<decltype(value)>{static_cast<decltype(value)*>(s.y), s.n, value}); };
  switch (s.dtype) {
    case DType::f32: return run(static_cast<float>(s.value));
    case DType::bf16: return run(to_bf16(static_cast<float>(s.value)));
    case DType::f64: return run(s.value);
    case DType::i32: return run(static_cast<std::int32_t>(s.value));
    case DType::i64: return run(static_cast<std::int64_t>(s.value));
    case DType::u8: return run(static_cast<std::uint8_t>(s.value));
  }
}

}  // namespace bam::cuda
