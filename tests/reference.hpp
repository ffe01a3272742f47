// What every op means, in straight loops over a scalar S: double for values, std::complex<double> for gradients by the complex
// step f'(x) = Im f(x + ih) / h, which has no cancellation, so that h = 1e-20 is exact to rounding (Squire & Trapp 1998).
// Where an op branches (max, relu, top-k), the branch is taken on the real part, so the step stays inside it.
#pragma once
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <complex>
#include <cstdint>
#include <vector>

#include "bam/bam.hpp"
#include "bam/cuda/backend.hpp"
#include "bam/cuda/emulator.hpp"
#include "free_store.hpp"

namespace reference {

using bam::Segment;
using bam::Shape;
using Complex = std::complex<double>;
template <class S>
using Array = std::vector<S>;
template <class S>
using Arrays = std::vector<std::vector<S>>;
using Index = std::int64_t;

inline double real(double x) { return x; }
inline double real(Complex x) { return x.real(); }
template <class T>
std::size_t at(T i) {
  return static_cast<std::size_t>(i);
}
template <class S>
Array<S> zeros(Index n) {
  return Array<S>(at(n));
}
template <class S>
S sigmoid(S x) {
  return 1.0 / (1.0 + std::exp(-x));
}
template <class S>
S silu(S x) {
  return x * sigmoid(x);
}
template <class S>
S softplus(S x) {  // its argument stays small in the tests
  return std::log(1.0 + std::exp(x));
}
template <class S>
S gelu(S x) {
  return 0.5 * x * (1.0 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

// C (M, N) = op(A) op(B).
template <class S>
void matmul(const S* a, const S* b, S* c, Index M, Index N, Index K, bool transpose_a, bool transpose_b) {
  for (Index i = 0; i < M; ++i)
    for (Index j = 0; j < N; ++j) {
      S sum{};
      for (Index k = 0; k < K; ++k) sum += a[transpose_a ? k * M + i : i * K + k] * b[transpose_b ? j * K + k : k * N + j];
      c[i * N + j] = sum;
    }
}
template <class S>
Array<S> linear(const Array<S>& x, const Array<S>& w, Index n, Index k, Index o) {
  auto y = zeros<S>(n * o);
  matmul(x.data(), w.data(), y.data(), n, o, k, false, true);
  return y;
}

template <class S>
Array<S> norm(const Array<S>& x, const Array<S>& w, Index rows, Index columns, double eps, bool rms) {
  auto y = zeros<S>(rows * columns);
  for (Index r = 0; r < rows; ++r) {
    const S* p = x.data() + r * columns;
    S mean{}, square{};
    if (!rms)
      for (Index c = 0; c < columns; ++c) mean += p[c] / static_cast<double>(columns);
    for (Index c = 0; c < columns; ++c) square += (p[c] - mean) * (p[c] - mean) / static_cast<double>(columns);
    for (Index c = 0; c < columns; ++c) y[at(r * columns + c)] = (p[c] - mean) / std::sqrt(square + eps) * w[at(c)];
  }
  return y;
}

// The first `heads` heads of each row of `width` elements are turned.
template <class S>
Array<S> rope(const Array<S>& x, const std::vector<std::int32_t>& positions, Index width, Index heads, Index d, double theta, bool rotate_half) {
  Array<S> y = x;
  for (std::size_t r = 0; r < positions.size(); ++r)
    for (Index h = 0; h < heads; ++h)
      for (Index i = 0; i < d / 2; ++i) {
        double angle = positions[r] * std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(d));
        std::size_t base = r * at(width) + at(h * d), a = base + at(rotate_half ? i : 2 * i), b = base + at(rotate_half ? i + d / 2 : 2 * i + 1);
        y[a] = x[a] * std::cos(angle) - x[b] * std::sin(angle);
        y[b] = x[b] * std::cos(angle) + x[a] * std::sin(angle);
      }
  return y;
}

template <class S>
void softmax(const S* x, S* y, Index n) {
  double top = -INFINITY;
  for (Index i = 0; i < n; ++i) top = std::max(top, real(x[i]));
  S sum{};
  for (Index i = 0; i < n; ++i) sum += std::exp(x[i] - top);
  for (Index i = 0; i < n; ++i) y[i] = std::exp(x[i] - top) / sum;
}
template <class S>
S log_sum_exp(const S* x, Index n) {
  double top = -INFINITY;
  for (Index i = 0; i < n; ++i) top = std::max(top, real(x[i]));
  S sum{};
  for (Index i = 0; i < n; ++i) sum += std::exp(x[i] - top);
  return top + std::log(sum);
}

// q (rows, heads D), k and v (keys, kv_heads D), gate (rows, gates) or empty.
struct AttentionSize {
  Index heads, kv_heads, group, d;
  bool causal = true;
  double scale = 0;  // 0: 1 / sqrt(d)
};
template <class S>
Array<S> attention(const Array<S>& q, const Array<S>& k, const Array<S>& v, const Array<S>& gate, Index gates, const AttentionSize& z,
                   const std::vector<Segment>& segments) {
  const Index d = z.d;
  Array<S> out(q.size());
  double scale = z.scale != 0 ? z.scale : 1 / std::sqrt(static_cast<double>(d));
  for (const Segment& g : segments)
    for (Index h = 0; h < z.heads; ++h)
      for (Index i = 0; i < g.q_length; ++i) {
        Index row = g.q_begin + i, seen = z.causal ? g.k_length - g.q_length + i + 1 : g.k_length, kv = h / z.group % z.kv_heads;
        if (seen <= 0) continue;
        auto p = zeros<S>(seen);
        for (Index j = 0; j < seen; ++j)
          for (Index c = 0; c < d; ++c) p[at(j)] += scale * q[at((row * z.heads + h) * d + c)] * k[at(((g.k_begin + j) * z.kv_heads + kv) * d + c)];
        softmax(p.data(), p.data(), seen);
        S f = gates ? gate[at(row * gates + h / (z.heads / gates))] : S(1.0);
        for (Index j = 0; j < seen; ++j)
          for (Index c = 0; c < d; ++c) out[at((row * z.heads + h) * d + c)] += f * p[at(j)] * v[at(((g.k_begin + j) * z.kv_heads + kv) * d + c)];
      }
  return out;
}
// Columns begin .. begin + n of a matrix of `width` columns.
template <class S>
Array<S> columns(const Array<S>& x, Index width, Index begin, Index n) {
  Array<S> y;
  for (std::size_t r = 0; r < x.size() / at(width); ++r)
    y.insert(y.end(), x.begin() + static_cast<std::ptrdiff_t>(r * at(width) + at(begin)),
             x.begin() + static_cast<std::ptrdiff_t>(r * at(width) + at(begin + n)));
  return y;
}

// x (rows, 2F) = [gate | up]; scale (rows) or empty.
template <class S>
Array<S> swiglu(const Array<S>& x, const Array<S>& scale, Index rows, Index f) {
  auto y = zeros<S>(rows * f);
  for (Index r = 0; r < rows; ++r)
    for (Index c = 0; c < f; ++c) y[at(r * f + c)] = silu(x[at(r * 2 * f + c)]) * x[at(r * 2 * f + f + c)] * (scale.empty() ? S(1.0) : scale[at(r)]);
  return y;
}

template <class S>
struct Routing {
  Array<S> gates, balance, z;
  std::vector<std::int32_t> chosen;
  std::vector<Index> counts;
};
template <class S>
Routing<S> route(const Array<S>& logits, Index experts, Index top_k, bool renormalize, const std::vector<std::uint8_t>& real_rows,
                 const std::vector<double>& f) {
  Index n = static_cast<Index>(logits.size()) / experts;
  Routing<S> r{zeros<S>(n * experts), zeros<S>(n), zeros<S>(n), {}, std::vector<Index>(at(experts))};
  auto probs = zeros<S>(n * experts);
  for (Index t = 0; t < n; ++t) {
    S* p = probs.data() + t * experts;
    softmax(logits.data() + t * experts, p, experts);
    std::vector<std::int32_t> order(at(experts));
    for (std::size_t e = 0; e < order.size(); ++e) order[e] = static_cast<std::int32_t>(e);
    // by the logits: equal ones have equal probabilities, and rounding cannot turn two round
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return real(logits[at(t * experts + a)]) > real(logits[at(t * experts + b)]); });
    S total{};
    for (Index j = 0; j < top_k; ++j) total += p[order[at(j)]];
    for (Index j = 0; j < top_k; ++j) {
      r.chosen.push_back(order[at(j)]);
      r.gates[at(t * experts + order[at(j)])] = renormalize ? p[order[at(j)]] / total : p[order[at(j)]];
      if (real_rows.empty() || real_rows[at(t)]) ++r.counts[at(order[at(j)])];
    }
  }
  double assigned = 0;
  for (Index c : r.counts) assigned += static_cast<double>(c);
  for (Index t = 0; t < n; ++t) {
    if (!real_rows.empty() && !real_rows[at(t)]) continue;
    S lse = log_sum_exp(logits.data() + t * experts, experts);
    r.z[at(t)] = lse * lse;
    for (Index e = 0; e < experts; ++e) {
      double share = !f.empty() ? f[at(e)] : assigned > 0 ? static_cast<double>(r.counts[at(e)]) / assigned : 0.0;
      r.balance[at(t)] += static_cast<double>(experts) * share * probs[at(t * experts + e)];
    }
  }
  return r;
}

// Every expert on every token, then the gate: experts that were not chosen have gate 0.
template <class S>
Array<S> mixture_ffn(const Array<S>& residual, const Array<S>& u, const Array<S>& gates, const std::vector<std::int32_t>& chosen, const Array<S>& w_in,
                     const Array<S>& w_out, Index experts, Index c, Index f) {
  Array<S> y = residual;
  Index n = static_cast<Index>(u.size()) / c, top_k = n ? static_cast<Index>(chosen.size()) / n : 0;
  for (Index t = 0; t < n; ++t)
    for (Index j = 0; j < top_k; ++j) {
      Index e = chosen[at(t * top_k + j)];
      auto x = zeros<S>(2 * f), out = zeros<S>(c);
      matmul(u.data() + t * c, w_in.data() + e * 2 * f * c, x.data(), 1, 2 * f, c, false, true);
      auto act = swiglu(x, {gates[at(t * experts + e)]}, 1, f);
      matmul(act.data(), w_out.data() + e * c * f, out.data(), 1, c, f, false, true);
      for (Index i = 0; i < c; ++i) y[at(t * c + i)] += out[at(i)];
    }
  return y;
}

template <class S>
Array<S> take_rows(const Array<S>& x, const std::vector<std::int64_t>& index, Index columns) {
  auto y = zeros<S>(static_cast<Index>(index.size()) * columns);
  for (std::size_t r = 0; r < index.size(); ++r)
    for (Index c = 0; index[r] >= 0 && c < columns; ++c) y[r * at(columns) + at(c)] = x[at(index[r] * columns + c)];
  return y;
}
template <class S>
Array<S> add_rows(const Array<S>& x, const std::vector<std::int64_t>& index, Index columns, Index targets) {
  auto y = zeros<S>(targets * columns);
  for (std::size_t r = 0; r < index.size(); ++r)
    for (Index c = 0; index[r] >= 0 && c < columns; ++c) y[at(index[r] * columns + c)] += x[r * at(columns) + at(c)];
  return y;
}

template <class S>
Array<S> cross_entropy(const Array<S>& logits, const std::vector<std::int32_t>& targets, Index classes, double scale) {
  Array<S> nll(targets.size());
  for (std::size_t r = 0; r < targets.size(); ++r) {
    if (targets[r] < 0) continue;
    Array<S> x(logits.begin() + static_cast<std::ptrdiff_t>(r * at(classes)), logits.begin() + static_cast<std::ptrdiff_t>((r + 1) * at(classes)));
    for (S& v : x) v *= scale;
    nll[r] = log_sum_exp(x.data(), classes) - x[at(targets[r])];
  }
  return nll;
}

// Odometer over a shape: calls f(index) for every element in row-major order.
template <class F>
void each(const Shape& shape, F f) {
  std::vector<Index> i(shape.size());
  Index n = 1;
  for (Index d : shape) n *= d;
  for (Index k = 0; k < n; ++k) {
    f(i);
    for (std::size_t d = shape.size(); d-- > 0;) {
      if (++i[d] < shape[d]) break;
      i[d] = 0;
    }
  }
}
// Where index i of a larger shape lies in a dense tensor of `shape`, aligned at the last axis, axes of 1 repeated.
inline std::size_t place(const Shape& shape, const std::vector<Index>& i) {
  Index offset = 0;
  for (std::size_t d = 0; d < shape.size(); ++d) offset = offset * shape[d] + (shape[d] == 1 ? 0 : i[i.size() - shape.size() + d]);
  return at(offset);
}
template <class S, class F>
Array<S> broadcast(const Array<S>& a, const Shape& a_shape, const Array<S>& b, const Shape& b_shape, const Shape& shape, F f) {
  Array<S> y;
  each(shape, [&](const std::vector<Index>& i) { y.push_back(f(a[place(a_shape, i)], b[place(b_shape, i)])); });
  return y;
}
// `kept` is shape with 1 at the reduced axes.
template <class S>
Array<S> sum(const Array<S>& x, const Shape& shape, const Shape& kept, double scale = 1) {
  auto y = zeros<S>(bam::numel(kept));
  std::size_t k = 0;
  each(shape, [&](const std::vector<Index>& i) { y[place(kept, i)] += scale * x[k++]; });
  return y;
}
template <class S>
Array<S> max(const Array<S>& x, const Shape& shape, const Shape& kept) {
  Array<S> y(at(bam::numel(kept)), S(-INFINITY));
  std::size_t k = 0;
  each(shape, [&](const std::vector<Index>& i) {
    S& top = y[place(kept, i)];
    if (real(x[k]) > real(top)) top = x[k];
    ++k;
  });
  return y;
}
template <class S>
Array<S> permute(const Array<S>& x, const Shape& shape, const std::vector<Index>& order) {
  Array<S> y;
  Shape to;
  for (Index a : order) to.push_back(shape[at(a)]);
  each(to, [&](const std::vector<Index>& i) {
    std::vector<Index> from(i.size());
    for (std::size_t d = 0; d < i.size(); ++d) from[at(order[d])] = i[d];
    Index offset = 0;
    for (std::size_t d = 0; d < i.size(); ++d) offset = offset * shape[d] + from[d];
    y.push_back(x[at(offset)]);
  });
  return y;
}
template <class S>
Array<S> slice(const Array<S>& x, const Shape& shape, std::size_t axis, Index begin, Index end) {
  Array<S> y;
  std::size_t k = 0;
  each(shape, [&](const std::vector<Index>& i) {
    if (i[axis] >= begin && i[axis] < end) y.push_back(x[k]);
    ++k;
  });
  return y;
}
// Parts of the shape (outer, n_i, inner) joined in the middle.
template <class S>
Array<S> concat(const Arrays<S>& parts, Index outer, Index inner) {
  Array<S> y;
  for (Index o = 0; o < outer; ++o)
    for (const auto& p : parts) {
      auto n = static_cast<Index>(p.size()) / (outer * inner) * inner;
      y.insert(y.end(), p.begin() + o * n, p.begin() + (o + 1) * n);
    }
  return y;
}

// One step of one number.
struct AdamWState {
  double p, m, v;
};
inline AdamWState adamw(AdamWState s, double g, double lr, double beta1, double beta2, double eps, double decay, double t) {
  s.m = beta1 * s.m + (1 - beta1) * g;
  s.v = beta2 * s.v + (1 - beta2) * g * g;
  s.p -= lr * (s.m / (1 - std::pow(beta1, t)) / (std::sqrt(s.v / (1 - std::pow(beta2, t))) + eps) + decay * s.p);
  return s;
}

// What the tests of kernels and ops share.

struct Settings {  // restored on the way out, also by a failed REQUIRE
  int threads_before = bam::threads();
  bam::cpu::Isa isa_before = bam::cpu::isa();
  bam::Device device_before = bam::default_device();
  bam::DType dtype_before = bam::default_dtype();
  bam::cuda::emulation::Options emulation_before = bam::cuda::emulation::options();
  ~Settings() {
    bam::set_threads(threads_before);
    bam::cpu::use(isa_before);
    bam::kernels() = nullptr;
    bam::default_device() = device_before;
    bam::default_dtype() = dtype_before;
    bam::cuda::emulation::options() = emulation_before;
    unsetenv("BAM_CUDA_PATH");
  }
};
// The emulation's fibers are nothing that g++'s ThreadSanitizer could follow; scripts/racecheck.sh has clang's.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool emulation_runs = false;
#else
inline constexpr bool emulation_runs = true;
#endif
// bam_gpu_tests: the kernels run on a GPU, and there is no emulation to ask.
inline const bool on_gpu = !bam::cuda::emulated();
// Whether the emulation counts what runs: products, bank conflicts. A GPU does not, and a test says so.
inline bool counted() {
  if (on_gpu) MESSAGE("not counted on a GPU: products on tensor cores, bank conflicts");
  return emulation_runs && !on_gpu;
}

// A row of the CUDA backend on host memory, where these tests have what they call rows with: on the device's stream and with its scratch, and done on return. A GPU reaches the free store and nothing else of the
// host's (gpu_main.cpp): a pointer to anything else is refused here, before it ends all that the process can do there.
template <auto row, class Args>
void on_host_memory(const bam::Exec&, const Args& args) {
#if __has_builtin(__builtin_clear_padding)
  if (bam::test::reachable) {
    Args plain = args;
    __builtin_clear_padding(&plain);
    bam::cuda::emulation::each_address(&plain, sizeof plain, [](std::size_t at, const void* p) {
      if (!bam::test::reachable(p)) bam::fail(bam::ErrorKind::internal, "test.pointer", "the pointer at byte ", at, " of the arguments is not of the free store, a GPU would not reach it");
    });
  }
#endif
  (bam::cuda::table.*row)(bam::cuda::execution(), args);
  bam::cuda::synchronize();
}
#define BAM_ROW(name, Args) on_host_memory<&bam::KernelTable::name, bam::Args>,
inline const bam::KernelTable cuda_on_host_memory = {BAM_KERNELS(BAM_ROW)};
#undef BAM_ROW

using bam::cuda::emulation::Copies;
using bam::cuda::emulation::Options;
using bam::cuda::emulation::Order;
// Orders of threads and of blocks that share nothing, with shared memory that holds one or the other pattern, asynchronous copies that land early or late, on a device of 1, 3 and 132 multiprocessors: each at least once,
// or, with BAM_TEST_MODES=all (make check-all), every order with every kind of copies and every pattern.
inline std::vector<Options> modes(std::vector<Options> some) {
  const char* const wish = std::getenv("BAM_TEST_MODES");
  if (!wish || std::string_view(wish) != "all") return some;
  std::vector<Options> all;
  for (Order order : {Order::forward, Order::backward, Order::random})
    for (Copies copies : {Copies::early, Copies::late})
      for (int fill : {0xff, 0x55}) all.push_back({.order = order, .fill = static_cast<unsigned char>(fill), .copies = copies, .multiprocessors = some[all.size() % some.size()].multiprocessors});
  return all;
}
inline const std::vector<Options> orders = modes({{.order = Order::forward, .fill = 0xff, .copies = Copies::late, .multiprocessors = 3}, {.order = Order::backward, .fill = 0x55, .copies = Copies::early, .multiprocessors = 1},
                                         {.order = Order::random, .fill = 0xff, .copies = Copies::late, .multiprocessors = 132}});
// The fast paths. On a GPU a fault of a kernel ends all that its process can do there, so that those of compute capability 9.0 can be left out, or tested alone: BAM_TEST_WGMMA=off or only.
inline std::vector<const char*> fast_paths() {
  const char* const wish = std::getenv("BAM_TEST_WGMMA");
  const std::string_view word = wish ? wish : "";
  if (word == "off") return {"mma"};
  if (word == "only") return {"wgmma"};
  return {"mma", "wgmma"};
}
// f by the CUDA kernels of a path (BAM_CUDA_PATH): on their emulation once in each of `ways`, on a GPU, which has its own, twice.
template <class F>
void emulated(const char* path, F f, const std::vector<Options>& ways = orders) {
  if (!emulation_runs) return;
  Settings settings;
  const std::string name = std::string(on_gpu ? "CUDA, " : "CUDA on the emulation, ") + path;
  CAPTURE(name);
  setenv("BAM_CUDA_PATH", path, 1);
  bam::kernels() = &cuda_on_host_memory;  // rows and tensors that stay, on host memory
  bam::default_device() = bam::Device::cuda;  // models, and tensors that are taken there, on the device's
  for (const Options& o : on_gpu ? std::vector<Options>(2) : ways) {
    bam::cuda::emulation::options() = o;
    if (name.find("wgmma") == std::string::npos) bam::cuda::emulation::options().shared_limit = 99 * 1024;  // what a block has on the devices of fewest, 8.6 and 8.9
    const int order = static_cast<int>(o.order);
    CAPTURE(order);
    f();
  }
  bam::Allocator::get(bam::Device::cuda).trim();  // the emulation opens and closes what there is
}
// f on every instruction set of this machine with 1, 2 and 3 threads, and by the portable CUDA kernels: what has one result to the bit.
template <class F>
void everywhere(F f) {
  Settings settings;
  for (int n : {1, 2, 3}) {
    bam::set_threads(n);
    for (bam::cpu::Isa isa : {bam::cpu::Isa::base, bam::cpu::Isa::avx2, bam::cpu::Isa::avx512}) {
      if (!bam::cpu::supported(isa)) continue;
      bam::cpu::use(isa);
      const std::string name = bam::cpu::name_of(isa);
      CAPTURE(n);
      CAPTURE(name);
      f();
    }
  }
  emulated("portable", f);
}

template <class S>
std::vector<S> widen(const bam::Tensor& t) {
  std::vector<S> v;
  for (float x : t.values()) v.emplace_back(x);
  return v;
}
inline double relative(double difference, double norm) { return norm > 1e-20 ? std::sqrt(difference / norm) : std::sqrt(difference); }
// ||a - b|| / ||b||
template <class A>
double error_of(const A& a, const std::vector<double>& b) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    norm += b[i] * b[i];
  }
  return relative(difference, norm);
}

using Floats = std::vector<float>;
inline Floats floats(const bam::Tensor& t) {
  const bam::Tensor here = t.to(bam::Device::cpu);
  return {here.values().begin(), here.values().end()};
}
inline bool same_bits(const Floats& a, const Floats& b) { return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * 4) == 0); }

// n draws from [0, limit); with `missing`, one in so many is -1.
inline std::vector<std::int32_t> below(std::int64_t n, std::int64_t limit, bam::Random& random, int missing = 0) {
  std::vector<std::int32_t> v;
  for (std::int64_t i = 0; i < n; ++i)
    v.push_back(missing && random.below(static_cast<std::uint64_t>(missing)) == 0 ? -1
                                                                                  : static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(limit))));
  return v;
}

}  // namespace reference
