// Every row of the kernel table at the sizes of a training step: hidden 768, heads 12 x 64, FFN 2048, sequences of 1024. Before it
// is timed, a kernel's result is checked against plain loops in double, on samples. See results/README.md for the counters.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdio>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "limits.hpp"

using namespace bam;
using bench::Limits;
using Index = std::int64_t;

namespace {

constexpr Index hidden = 768, heads = 12, head_dim = 64, ffn = 2048, context = 1024, experts = 4, top_k = 2;
constexpr Index parameters = 24 << 20;

double real(Index x) { return static_cast<double>(x); }

// Memory of the engine's allocator, kept alive by every copy.
template <class T = float>
class Array {
 public:
  explicit Array(Index n) : storage_(std::make_shared<Storage>(n * static_cast<Index>(sizeof(T)))), data_(static_cast<T*>(storage_->data())), n_(n) {
    std::fill(data_, data_ + n, T());
  }
  operator T*() const { return data_; }
  Index size() const { return n_; }
  Array clone() const {
    Array copy(n_);
    std::copy(data_, data_ + n_, copy.data_);
    return copy;
  }

 private:
  std::shared_ptr<Storage> storage_;
  T* data_;
  Index n_;
};

std::uint64_t mix(std::uint64_t x) {
  x *= 0x9E3779B97F4A7C15ull;
  x = (x ^ x >> 32) * 0xD6E8FEB86659FD93ull;
  return x ^ x >> 32;
}
// Uniform in [low, high), other values for each call.
Array<> uniform(Index n, float low = -1, float high = 1) {
  static std::uint64_t seed = 0;
  ++seed;
  Array<> x(n);
  for (Index i = 0; i < n; ++i)
    x[i] = low + (high - low) * 0x1p-24f * static_cast<float>(mix(seed << 40 | static_cast<std::uint64_t>(i)) >> 40);
  return x;
}
template <class T>
Array<T> indices(Index n, Index below) {
  Array<T> x(n);
  for (Index i = 0; i < n; ++i) x[i] = static_cast<T>(mix(static_cast<std::uint64_t>(i + n)) % static_cast<std::uint64_t>(below));
  return x;
}

// The largest error seen, relative to what is wanted, and to sqrt(terms), which a sum of so many numbers about 1 comes to.
struct Worst {
  double value = 0;
  void see(double got, double wanted, Index terms = 1) {
    double error = std::fabs(got - wanted) / (std::fabs(wanted) + std::sqrt(real(terms)));
    if (!(error <= value)) value = error == error ? error : INFINITY;
  }
};
constexpr double tolerance = 1e-4;

// f(i) for up to `most` of [0, n), the first and the last among them.
template <class F>
void samples(Index n, Index most, F f) {
  if (n <= most)
    for (Index i = 0; i < n; ++i) f(i);
  else
    for (Index k = 0; k < most; ++k) f(k * (n - 1) / (most - 1));
}

// One call: its arithmetic, or, where memory is the limit, the bytes that it must at least read and write.
struct Case {
  double flops = 0, read = 0, written = 0;
  std::function<void()> run;
  std::function<void(Worst&)> check;  // after the first run
};
struct Entry {
  std::string name;  // row of the table / variant / size
  std::function<Case()> make;
};

Case gemm(bool transpose_a, bool transpose_b, Index M, Index N, Index K) {
  auto A = uniform(M * K), B = uniform(K * N), C = Array(M * N);
  GemmArgs a;
  a.transpose_a = transpose_a, a.transpose_b = transpose_b;
  a.M = M, a.N = N, a.K = K;
  a.A = A, a.lda = transpose_a ? M : K;
  a.B = B, a.ldb = transpose_b ? K : N;
  a.C = C, a.ldc = N;
  auto check = [=](Worst& worst) {
    samples(M * N, 97, [&](Index at) {
      Index i = at / N, j = at % N;
      double sum = 0;
      for (Index k = 0; k < K; ++k) sum += double{A[transpose_a ? k * M + i : i * K + k]} * B[transpose_b ? j * K + k : k * N + j];
      worst.see(C[at], sum, K);
    });
  };
  return {cost(Row::gemm, a).flops, 0, 0, [=] { kernel::gemm(a); }, check};
}

double bytes(Index floats) { return 4 * real(floats); }

// Tokens sent to experts by random logits: the route that the mixture's kernels follow.
struct Routed {
  Index tokens, slots;
  Array<> logits, probs, gates, lse, balance, z, f_used, slot_gate;
  Array<std::int32_t> chosen;
  Array<Index> counts, offsets, slot_token, token_slot;
  RouterArgs router;
  RoutePlanArgs plan;

  explicit Routed(Index n)
      : tokens(n), slots(n * top_k), logits(uniform(n * experts, -2, 2)), probs(n * experts), gates(n * experts), lse(n), balance(n), z(n),
        f_used(experts), slot_gate(slots), chosen(slots), counts(experts), offsets(experts + 1), slot_token(slots), token_slot(slots) {
    router.tokens = plan.tokens = n;
    router.experts = plan.experts = experts;
    router.top_k = plan.top_k = top_k;
    router.logits = logits;
    router.probs = probs, router.gates = gates;
    router.lse = lse, router.balance = balance, router.z = z;
    router.chosen = chosen;
    router.counts = counts, router.f_used = f_used;
    plan.chosen = chosen, plan.gates = gates;
    plan.offsets = offsets, plan.slot_token = slot_token, plan.token_slot = token_slot, plan.slot_gate = slot_gate;
    kernel::router_forward(router);
    kernel::route_plan(plan);
  }
};

// C[r, :] = A[token of r, :] op(B_e), or the gradient of the weights, C_e = sum over rows of A[token of r, :]^T B[r, :].
Case grouped(bool weights, bool transpose_b, Index M, Index N, Index K) {
  Routed r(2048);
  auto A = uniform(r.tokens * (weights ? M : K)), B = uniform(weights ? r.slots * N : experts * N * K);
  auto C = Array(weights ? experts * M * N : r.slots * N);
  GroupedGemmArgs a;
  a.weights = weights, a.transpose_b = transpose_b;
  a.experts = experts;
  a.M = M, a.N = N, a.K = K;
  a.offsets = r.offsets, a.a_index = r.slot_token;
  a.A = A, a.lda = weights ? M : K;
  a.B = B, a.ldb = transpose_b ? K : N;
  a.C = C, a.ldc = N;
  a.expert_stride = weights ? M * N : N * K;
  auto check = [=](Worst& worst) {
    samples(C.size(), 97, [&](Index at) {
      Index i = at / N, j = at % N, e = weights ? i / M : 0;
      if (!weights)
        while (i >= r.offsets[e + 1]) ++e;
      double sum = 0;
      if (weights)
        for (Index s = r.offsets[e]; s < r.offsets[e + 1]; ++s) sum += double{A[r.slot_token[s] * M + i % M]} * B[s * N + j];
      else
        for (Index k = 0; k < K; ++k) sum += double{A[r.slot_token[i] * K + k]} * B[e * N * K + (transpose_b ? j * K + k : k * N + j)];
      worst.see(C[at], sum, weights ? r.slots / experts : K);
    });
  };
  return {cost(Row::grouped_gemm, a).flops, 0, 0, [=] { kernel::grouped_gemm(a); }, check};
}

Case norm(bool rms, bool backward, Index rows) {
  const Index n = hidden;
  auto x = uniform(rows * n), w = uniform(n, 0.5f, 1.5f), y = Array(rows * n), mean = Array(rows), rstd = Array(rows);
  auto dy = uniform(rows * n), dx = Array(rows * n), dw = Array(n);
  NormArgs a;
  a.rms = rms;
  a.rows = rows, a.columns = n;
  a.x = x, a.w = w, a.y = y, a.mean = mean, a.rstd = rstd;
  a.dy = dy, a.dx = dx, a.dw = dw;
  kernel::norm_forward(a);
  auto check = [=](Worst& worst) {
    std::vector<double> sum_w(static_cast<std::size_t>(n));
    for (Index r = 0; r < rows; ++r) {
      const float *p = x + r * n, *d = dy + r * n;
      double m = 0, square = 0, g = 0, gx = 0;
      for (Index c = 0; c < n; ++c) m += rms ? 0.0 : p[c] / real(n);
      for (Index c = 0; c < n; ++c) square += (p[c] - m) * (p[c] - m) / real(n);
      double s = 1 / std::sqrt(square + a.eps);
      for (Index c = 0; c < n; ++c) {
        double unit = (p[c] - m) * s, t = double{d[c]} * w[c];
        g += rms ? 0.0 : t / real(n);
        gx += t * unit / real(n);
        sum_w[static_cast<std::size_t>(c)] += d[c] * unit;
      }
      samples(n, 17, [&](Index c) {
        double unit = (p[c] - m) * s;
        if (backward) worst.see(dx[r * n + c], s * (double{d[c]} * w[c] - g - unit * gx));
        else worst.see(y[r * n + c], unit * w[c]);
      });
    }
    for (Index c = 0; backward && c < n; ++c) worst.see(dw[c], sum_w[static_cast<std::size_t>(c)], rows);
  };
  if (backward) return {0, bytes(2 * rows * n), bytes(rows * n), [=] { kernel::norm_backward(a); }, check};
  return {0, bytes(rows * n), bytes(rows * n), [=] { kernel::norm_forward(a); }, check};
}

// The queries and keys of [q | k | v], in place, as the projection does it.
Case rope(bool rotate_half, Index rows) {
  const Index width = 3 * hidden, turned = 2 * heads, half = head_dim / 2;
  auto x = uniform(rows * width), before = x.clone(), table = Array(context * head_dim);
  Array<std::int32_t> positions(rows);
  for (Index r = 0; r < rows; ++r) positions[r] = static_cast<std::int32_t>(r % context);
  auto angle = [=](Index p, Index i) { return real(p) * std::pow(10000.0, -2.0 * real(i) / real(head_dim)); };
  for (Index p = 0; p < context; ++p)
    for (Index i = 0; i < half; ++i) {
      table[p * head_dim + i] = static_cast<float>(std::cos(angle(p, i)));
      table[p * head_dim + half + i] = static_cast<float>(std::sin(angle(p, i)));
    }
  RopeArgs a;
  a.rotate_half = rotate_half;
  a.rows = rows, a.heads = turned, a.head_dim = head_dim;
  a.x = x, a.y = x, a.x_row = a.y_row = width;
  a.positions = positions, a.table = table;
  auto check = [=](Worst& worst) {
    samples(rows, 61, [&](Index r) {
      for (Index at = 0; at < turned * half; ++at) {
        Index i = at % half, base = r * width + at / half * head_dim;
        Index first = base + (rotate_half ? i : 2 * i), second = base + (rotate_half ? i + half : 2 * i + 1);
        double c = std::cos(angle(r % context, i)), s = std::sin(angle(r % context, i));
        worst.see(x[first], before[first] * c - before[second] * s);
        worst.see(x[second], before[second] * c + before[first] * s);
      }
      for (Index c = turned * head_dim; c < width; ++c) worst.see(x[r * width + c], before[r * width + c]);
    });
  };
  return {0, bytes(rows * turned * head_dim), bytes(rows * turned * head_dim), [=] { kernel::rope(a); }, check};
}

// Two sequences of 1024 in one batch. gates > 1: soft mixture of attention experts, each with its own query heads, keys shared.
Case attention(bool backward, Index kv_heads, Index gates) {
  const Index rows = 2 * context, d = head_dim, H = heads * gates, width = (H + 2 * kv_heads) * d;
  auto qkv = uniform(rows * width), out = Array(rows * H * d), lse = Array(H * rows), dout = uniform(rows * H * d), dqkv = Array(rows * width);
  auto gate = uniform(rows * gates, 0, 1), dgate = Array(rows * gates);
  Array<Segment> segments(2);
  for (Index s = 0; s < 2; ++s) segments[s] = {s * context, context, s * context, context};
  const Index k_at = H * d, v_at = (H + kv_heads) * d;
  AttentionArgs a;
  a.segments = 2, a.rows = rows, a.segment = segments;
  a.heads = H, a.kv_heads = kv_heads, a.group = heads / kv_heads, a.head_dim = d, a.heads_per_gate = heads;
  a.scale = 0.125f;
  a.q = qkv, a.k = qkv + k_at, a.v = qkv + v_at;
  a.q_row = a.k_row = a.v_row = width;
  a.out = out, a.out_row = H * d, a.lse = lse;
  if (gates > 1) a.gate = gate, a.gate_row = gates, a.dgate = dgate;
  a.dout = dout, a.dout_row = H * d;
  a.dq = dqkv, a.dk = dqkv + k_at, a.dv = dqkv + v_at;
  kernel::attention_forward(a);

  auto dot = [=](const float* x, const float* y) {
    double sum = 0;
    for (Index c = 0; c < d; ++c) sum += double{x[c]} * y[c];
    return sum;
  };
  auto kv_of = [=](Index h) { return h / a.group % kv_heads; };
  auto gate_of = [=](Index row, Index h) { return gates > 1 ? double{gate[row * gates + h / heads]} : 1.0; };
  auto q_of = [=](Index row, Index h) { return qkv + row * width + h * d; };
  auto k_of = [=](Index row, Index h) { return qkv + row * width + k_at + kv_of(h) * d; };
  auto v_of = [=](Index row, Index h) { return qkv + row * width + v_at + kv_of(h) * d; };
  auto dout_of = [=](Index row, Index h) { return dout + (row * H + h) * d; };
  // f(key row, probability) for the keys that a query sees
  auto each_key = [=](Index row, Index h, auto f) {
    double top = -INFINITY, sum = 0;
    std::vector<double> s;
    for (Index j = row / context * context; j <= row; ++j) s.push_back(a.scale * dot(q_of(row, h), k_of(j, h))), top = std::max(top, s.back());
    for (double x : s) sum += std::exp(x - top);
    for (std::size_t j = 0; j < s.size(); ++j) f(row / context * context + static_cast<Index>(j), std::exp(s[j] - top) / sum);
    return top + std::log(sum);
  };
  auto check_forward = [=](Worst& worst) {
    samples(rows * H, 61, [&](Index at) {
      Index row = at / H, h = at % H;
      double y[head_dim] = {};
      double l = each_key(row, h, [&](Index j, double p) {
        for (Index c = 0; c < d; ++c) y[c] += gate_of(row, h) * p * v_of(j, h)[c];
      });
      worst.see(lse[h * rows + row], l);
      for (Index c = 0; c < d; ++c) worst.see(out[at * d + c], y[c]);
    });
  };
  auto check_backward = [=](Worst& worst) {
    // dS of one pair, from P: what a query's output says of each of its scores
    auto slope = [=](Index row, Index h, Index j, double p) {
      return p * (gate_of(row, h) * dot(dout_of(row, h), v_of(j, h)) - dot(dout_of(row, h), out + (row * H + h) * d));
    };
    samples(rows * H, 61, [&](Index at) {
      Index row = at / H, h = at % H;
      double dq[head_dim] = {};
      each_key(row, h, [&](Index j, double p) {
        for (Index c = 0; c < d; ++c) dq[c] += a.scale * slope(row, h, j, p) * k_of(j, h)[c];
      });
      for (Index c = 0; c < d; ++c) worst.see(dqkv[row * width + h * d + c], dq[c]);
    });
    samples(rows * kv_heads, 13, [&](Index at) {
      Index j = at / kv_heads, kv = at % kv_heads;
      double dk[head_dim] = {}, dv[head_dim] = {};
      for (Index h = 0; h < H; ++h)
        for (Index row = j; kv_of(h) == kv && row < (j / context + 1) * context; ++row) {
          double p = std::exp(a.scale * dot(q_of(row, h), k_of(j, h)) - lse[h * rows + row]), ds = slope(row, h, j, p);
          for (Index c = 0; c < d; ++c) dk[c] += a.scale * ds * q_of(row, h)[c], dv[c] += p * gate_of(row, h) * dout_of(row, h)[c];
        }
      for (Index c = 0; c < d; ++c) worst.see(dqkv[j * width + k_at + kv * d + c], dk[c]), worst.see(dqkv[j * width + v_at + kv * d + c], dv[c]);
    });
    if (gates > 1)
      samples(rows * gates, 13, [&](Index at) {
        double sum = 0;
        for (Index h = at % gates * heads; h < (at % gates + 1) * heads; ++h)
          each_key(at / gates, h, [&](Index j, double p) { sum += p * dot(dout_of(at / gates, h), v_of(j, h)); });
        worst.see(dgate[at], sum);
      });
  };
  if (backward) return {cost(Row::attention_backward, a).flops, 0, 0, [=] { kernel::attention_backward(a); }, check_backward};
  return {cost(Row::attention_forward, a).flops, 0, 0, [=] { kernel::attention_forward(a); }, check_forward};
}

Case swiglu(bool backward, bool scaled, Index rows) {
  const Index F = ffn;
  auto x = uniform(rows * 2 * F, -3, 3), scale = uniform(rows, 0, 1), y = Array(rows * F);
  auto dy = uniform(rows * F), dx = Array(rows * 2 * F), dscale = Array(rows);
  SwigluArgs a;
  a.rows = rows, a.columns = F;
  a.x = x, a.x_row = 2 * F;
  a.y = y, a.y_row = F;
  a.dy = dy, a.dy_row = F;
  a.dx = dx, a.dx_row = 2 * F;
  if (scaled) a.scale = scale, a.dscale = dscale;
  auto check = [=](Worst& worst) {
    samples(rows, 61, [&](Index r) {
      double s = scaled ? scale[r] : 1.0, sum = 0;
      for (Index c = 0; c < F; ++c) {
        double gate = x[r * 2 * F + c], up = x[r * 2 * F + F + c], sigma = 1 / (1 + std::exp(-gate)), d = dy[r * F + c];
        sum += d * gate * sigma * up;
        if (!backward) worst.see(y[r * F + c], s * gate * sigma * up);
        if (backward) worst.see(dx[r * 2 * F + c], s * d * up * sigma * (1 + gate * (1 - sigma)));
        if (backward) worst.see(dx[r * 2 * F + F + c], s * d * gate * sigma);
      }
      if (backward && scaled) worst.see(dscale[r], sum);
    });
  };
  if (backward) return {0, bytes(3 * rows * F), bytes(2 * rows * F), [=] { kernel::swiglu_backward(a); }, check};
  return {0, bytes(2 * rows * F), bytes(rows * F), [=] { kernel::swiglu_forward(a); }, check};
}

// What one row of logits means: probabilities, and which experts are chosen.
struct RouterRow {
  double p[experts], lse = 0;
  bool chosen[experts] = {};
  explicit RouterRow(const float* logits) {
    double sum = 0;
    for (Index e = 0; e < experts; ++e) sum += std::exp(double{logits[e]});
    lse = std::log(sum);
    for (Index e = 0; e < experts; ++e) {
      p[e] = std::exp(double{logits[e]}) / sum;
      Index larger = 0;
      for (Index o = 0; o < experts; ++o) larger += logits[o] > logits[e];
      chosen[e] = larger < top_k;
    }
  }
};
Case router(bool backward, Index rows) {
  Routed r(rows);
  auto dgate = uniform(rows * experts), dbalance = uniform(rows), dz = uniform(rows), dlogits = Array(rows * experts);
  RouterArgs a = r.router;
  a.dgate = dgate, a.dbalance = dbalance, a.dz = dz, a.dlogits = dlogits;
  auto check = [=](Worst& worst) {
    double share[experts] = {};
    for (Index t = 0; t < rows; ++t)
      for (Index e = 0; e < experts; ++e) share[e] += RouterRow(r.logits + t * experts).chosen[e] / real(r.slots);
    for (Index t = 0; t < rows; ++t) {
      RouterRow w(r.logits + t * experts);
      double f = 0, gate = 0;
      for (Index e = 0; e < experts; ++e) {
        f += share[e] * w.p[e];
        if (w.chosen[e]) gate += w.p[e] * dgate[t * experts + e];
      }
      for (Index e = 0; e < experts; ++e) {
        Index at = t * experts + e;
        if (backward)
          worst.see(dlogits[at], w.p[e] * ((w.chosen[e] ? dgate[at] : 0.0f) - gate + real(experts) * dbalance[t] * (share[e] - f) + 2 * w.lse * dz[t]));
        else worst.see(r.probs[at], w.p[e]), worst.see(r.gates[at], w.chosen[e] ? w.p[e] : 0);
      }
      if (!backward) worst.see(r.z[t], w.lse * w.lse), worst.see(r.balance[t], real(experts) * f);
    }
  };
  if (backward) return {0, bytes(rows * (3 * experts + 3)), bytes(rows * experts), [=] { kernel::router_backward(a); }, check};
  return {0, bytes(rows * experts), bytes(rows * (2 * experts + 3 + top_k)), [=] { kernel::router_forward(a); }, check};
}

Case route_plan(Index rows) {
  Routed r(rows);
  auto check = [=](Worst& worst) {
    Index s = 0;
    for (Index e = 0; e < experts; ++e) {
      worst.see(real(r.offsets[e]), real(s));
      for (Index i = 0; i < r.slots; ++i)
        if (r.chosen[i] == e) {
          worst.see(real(r.slot_token[s]), real(i / top_k));
          worst.see(real(r.token_slot[i]), real(s));
          worst.see(r.slot_gate[s], r.gates[i / top_k * experts + e]);
          ++s;
        }
    }
    worst.see(real(r.offsets[experts]), real(s));
  };
  return {0, bytes(2 * r.slots), bytes(5 * r.slots), [=] { kernel::route_plan(r.plan); }, check};
}
Case route_gradient(Index rows) {
  Routed r(rows);
  auto dscale = uniform(r.slots), dgates = Array(rows * experts);
  RouteGradientArgs a;
  a.tokens = rows, a.experts = experts, a.top_k = top_k;
  a.chosen = r.chosen, a.token_slot = r.token_slot, a.dscale = dscale, a.dgates = dgates;
  auto check = [=](Worst& worst) {
    Array<double> wanted(rows * experts);
    for (Index i = 0; i < r.slots; ++i) wanted[i / top_k * experts + r.chosen[i]] = dscale[r.token_slot[i]];
    for (Index i = 0; i < wanted.size(); ++i) worst.see(dgates[i], wanted[i]);
  };
  return {0, bytes(4 * r.slots), bytes(rows * experts), [=] { kernel::route_gradient(a); }, check};
}

Case embedding(Index rows, Index vocabulary) {
  auto x = uniform(vocabulary * hidden), y = Array(rows * hidden);
  auto index = indices<std::int32_t>(rows, vocabulary);
  GatherArgs a;
  a.rows = rows, a.columns = hidden;
  a.x = x, a.x_row = hidden, a.index32 = index, a.y = y, a.y_row = hidden;
  auto check = [=](Worst& worst) {
    samples(rows * hidden, 9973, [&](Index i) { worst.see(y[i], x[index[i / hidden] * hidden + i % hidden]); });
  };
  return {0, bytes(rows * hidden), bytes(rows * hidden), [=] { kernel::gather(a); }, check};
}
Case combine(Index rows) {
  Routed r(rows);
  auto x = uniform(r.slots * hidden), y = Array(rows * hidden);
  GatherArgs a;
  a.rows = rows, a.columns = hidden, a.terms = top_k;
  a.x = x, a.x_row = hidden, a.index = r.token_slot, a.y = y, a.y_row = hidden;
  auto check = [=](Worst& worst) {
    samples(rows * hidden, 9973, [&](Index i) {
      double sum = 0;
      for (Index j = 0; j < top_k; ++j) sum += x[r.token_slot[i / hidden * top_k + j] * hidden + i % hidden];
      worst.see(y[i], sum);
    });
  };
  return {0, bytes(r.slots * hidden), bytes(rows * hidden), [=] { kernel::gather(a); }, check};
}
// The gradient of an embedding, added to what the output layer left there.
Case scatter(Index rows, Index vocabulary) {
  auto x = uniform(rows * hidden), y = uniform(vocabulary * hidden), before = y.clone();
  auto index = indices<std::int32_t>(rows, vocabulary);
  ScatterArgs a;
  a.write = Write::add;
  a.rows = rows, a.columns = hidden, a.targets = vocabulary;
  a.x = x, a.x_row = hidden, a.index32 = index, a.y = y, a.y_row = hidden;
  auto check = [=](Worst& worst) {
    samples(hidden, 7, [&](Index c) {
      std::vector<double> wanted(static_cast<std::size_t>(vocabulary));
      for (Index r = 0; r < rows; ++r) wanted[static_cast<std::size_t>(index[r])] += x[r * hidden + c];
      for (Index t = 0; t < vocabulary; ++t) worst.see(y[t * hidden + c], before[t * hidden + c] + wanted[static_cast<std::size_t>(t)]);
    });
  };
  return {0, bytes(2 * rows * hidden), bytes(rows * hidden), [=] { kernel::scatter(a); }, check};
}

double log_sum_exp(const float* x, Index n) {
  double sum = 0;
  for (Index i = 0; i < n; ++i) sum += std::exp(double{x[i]});
  return std::log(sum);
}
Case softmax(bool backward, bool log, Index rows, Index n) {
  auto x = uniform(rows * n, -4, 4), y = Array(rows * n), dy = uniform(rows * n), dx = Array(rows * n);
  SoftmaxArgs a;
  a.log = log;
  a.rows = rows, a.columns = n;
  a.x = x, a.y = y, a.dy = dy, a.dx = dx;
  kernel::softmax_forward(a);
  auto check = [=](Worst& worst) {
    samples(rows, 61, [&](Index r) {
      double lse = log_sum_exp(x + r * n, n), sum = 0;
      for (Index c = r * n; c < (r + 1) * n; ++c) sum += log ? dy[c] : dy[c] * std::exp(x[c] - lse);
      for (Index c = r * n; c < (r + 1) * n; ++c) {
        double p = std::exp(x[c] - lse);
        // probabilities are small: their error counts relative to 1 / n
        double unit = log ? 1 : real(n);
        if (backward) worst.see(unit * dx[c], unit * (log ? dy[c] - p * sum : p * (dy[c] - sum)));
        else worst.see(unit * y[c], unit * (log ? x[c] - lse : p));
      }
    });
  };
  if (backward) return {0, bytes(2 * rows * n), bytes(rows * n), [=] { kernel::softmax_backward(a); }, check};
  return {0, bytes(rows * n), bytes(rows * n), [=] { kernel::softmax_forward(a); }, check};
}
// Backward in place, as the output layer does it.
Case cross_entropy(bool backward, Index rows, Index n) {
  auto x = uniform(rows * n, -4, 4), before = x.clone(), nll = Array(rows), lse = Array(rows), dnll = uniform(rows);
  auto target = indices<std::int32_t>(rows, n);
  CrossEntropyArgs a;
  a.rows = rows, a.columns = a.x_row = a.dx_row = n;
  a.x = x, a.target = target, a.nll = nll, a.lse = lse;
  a.dnll = dnll, a.dx = x;
  kernel::cross_entropy_forward(a);
  auto check = [=](Worst& worst) {
    samples(rows, 61, [&](Index r) {
      const float* row = before + r * n;
      double l = log_sum_exp(row, n);
      if (!backward) worst.see(lse[r], l), worst.see(nll[r], l - row[target[r]]);
      for (Index c = 0; backward && c < n; ++c) worst.see(real(n) * x[r * n + c], real(n) * (std::exp(row[c] - l) - (c == target[r])) * dnll[r]);
    });
  };
  if (backward) return {0, bytes(rows * n), bytes(rows * n), [=] { kernel::cross_entropy_backward(a); }, check};
  return {0, bytes(rows * n), 0, [=] { kernel::cross_entropy_forward(a); }, check};
}

double gelu(double x) { return 0.5 * x * (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))); }
Case unary(Unary op, double (*f)(double), bool backward, Index rows) {
  const Index n = rows * hidden;
  auto x = uniform(n, -3, 3), y = Array(n), dy = uniform(n), dx = Array(n);
  UnaryArgs a;
  a.op = op;
  a.n = n;
  a.x = x, a.y = y, a.dy = dy, a.dx = dx;
  auto check = [=](Worst& worst) {
    samples(n, 9973, [&](Index i) {
      const double h = 1e-5;
      if (backward) worst.see(dx[i], dy[i] * (f(x[i] + h) - f(x[i] - h)) / (2 * h));
      else worst.see(y[i], f(x[i]));
    });
  };
  if (backward) return {0, bytes(2 * n), bytes(n), [=] { kernel::unary_backward(a); }, check};
  return {0, bytes(n), bytes(n), [=] { kernel::unary_forward(a); }, check};
}
// b is a whole matrix or one row, repeated.
Case binary(bool row, Index rows) {
  const Index n = rows * hidden;
  auto a = uniform(n), b = uniform(row ? hidden : n), y = Array(n);
  BinaryArgs s;
  s.rank = 2;
  s.shape[0] = rows, s.shape[1] = hidden;
  s.a_stride[0] = hidden, s.a_stride[1] = 1;
  s.b_stride[0] = row ? 0 : hidden, s.b_stride[1] = 1;
  s.a = a, s.b = b, s.y = y;
  auto check = [=](Worst& worst) { samples(n, 9973, [&](Index i) { worst.see(y[i], double{a[i]} + b[row ? i % hidden : i]); }); };
  return {0, bytes(row ? n : 2 * n), bytes(n), [=] { kernel::binary(s); }, check};
}
// heads: (rows, 12, 64) becomes (12, rows, 64). Else a matrix is transposed.
Case copy(bool by_heads, Index rows) {
  const Index n = rows * hidden, inner = by_heads ? head_dim : 1, outer = hidden / inner;
  auto x = uniform(n), y = Array(n);
  CopyArgs a;
  a.rank = 3;
  a.shape[0] = outer, a.shape[1] = rows, a.shape[2] = inner;
  a.x_stride[0] = inner, a.x_stride[1] = hidden, a.x_stride[2] = 1;
  a.y_stride[0] = rows * inner, a.y_stride[1] = inner, a.y_stride[2] = 1;
  a.x = x, a.y = y;
  auto check = [=](Worst& worst) {
    samples(n, 9973, [&](Index i) { worst.see(y[i], x[i / inner % rows * hidden + i / (inner * rows) * inner + i % inner]); });
  };
  return {0, bytes(n), bytes(n), [=] { kernel::copy(a); }, check};
}
Case reduce(bool over_rows, Reduce op, Index rows) {
  auto x = uniform(rows * hidden), y = Array(over_rows ? hidden : rows);
  ReduceArgs a;
  a.op = op;
  a.outer = over_rows ? 1 : rows, a.n = over_rows ? rows : hidden, a.inner = over_rows ? hidden : 1;
  a.x = x, a.y = y;
  auto check = [=](Worst& worst) {
    for (Index i = 0; i < y.size(); ++i) {
      double sum = 0, top = -INFINITY;
      for (Index j = 0; j < a.n; ++j) {
        double v = x[over_rows ? j * hidden + i : i * hidden + j];
        sum += v, top = std::max(top, v);
      }
      worst.see(y[i], op == Reduce::sum ? sum : top, op == Reduce::sum ? a.n : 1);
    }
  };
  return {0, bytes(rows * hidden), 0, [=] { kernel::reduce(a); }, check};
}

Case dropout(Index rows) {
  const Index n = rows * hidden;
  auto x = uniform(n), y = Array(n);
  DropoutArgs a;
  a.p = 0.1f;
  a.seed = 7, a.stream = 3, a.step = 5;
  a.rows = rows, a.columns = hidden;
  a.x = x, a.y = y;
  auto check = [=](Worst& worst) {
    samples(n, 9973, [&](Index i) {
      double draw = philox(a.seed, a.stream, a.step, static_cast<std::uint64_t>(i / 4)).v[i % 4];
      worst.see(y[i], draw >= a.p * 0x1p32 ? x[i] / (1.0 - a.p) : 0.0);
    });
  };
  return {0, bytes(n), bytes(n), [=] { kernel::dropout(a); }, check};
}
Case fill() {
  auto y = uniform(parameters);
  FillArgs a;
  a.n = parameters;
  a.value = 2.5;
  a.y = y;
  auto check = [=](Worst& worst) { samples(a.n, 9973, [&](Index i) { worst.see(y[i], 2.5); }); };
  return {0, 0, bytes(parameters), [=] { kernel::fill(a); }, check};
}
Case cast(bool narrow) {
  const Index n = parameters;
  auto wide = uniform(n);
  Array<Bf16> half(n);
  for (Index i = 0; i < n; ++i) half[i] = to_bf16(wide[i]);
  CastArgs a;
  a.n = n;
  a.from = narrow ? DType::f32 : DType::bf16, a.to = narrow ? DType::bf16 : DType::f32;
  if (narrow) a.x = wide, a.y = half;
  else a.x = half, a.y = wide;
  auto check = [=](Worst& worst) { samples(n, 9973, [&](Index i) { worst.see(to_float(half[i]), to_float(to_bf16(wide[i]))); }); };
  return {0, narrow ? bytes(n) : bytes(n) / 2, narrow ? bytes(n) / 2 : bytes(n), [=] { kernel::cast(a); }, check};
}
Case sum_squares() {
  const Index block = SumSquaresArgs::block;
  auto x = uniform(parameters);
  Array<double> partial((parameters + block - 1) / block);
  SumSquaresArgs a;
  a.parts = 1;
  a.part[0] = {parameters, x};
  a.partial = partial;
  auto check = [=](Worst& worst) {
    samples(partial.size(), 13, [&](Index b) {
      double sum = 0;
      for (Index i = b * block; i < std::min(parameters, (b + 1) * block); ++i) sum += double{x[i]} * x[i];
      worst.see(partial[b], sum);
    });
  };
  return {0, bytes(parameters), 0, [=] { kernel::sum_squares(a); }, check};
}
Case adamw() {
  auto p = uniform(parameters), g = uniform(parameters), m = uniform(parameters), v = uniform(parameters, 0, 1);
  auto p0 = p.clone(), m0 = m.clone(), v0 = v.clone();
  Array<AdamWScalars> scalars(1);
  scalars[0] = {1e-3f, 0.5f, 0.25f, 0.75f};
  AdamWArgs a;
  a.scalars = scalars;
  a.parts = 1;
  a.part[0] = {1, parameters, parameters, 0.1f, p, g, m, v};
  auto check = [=](Worst& worst) {
    const AdamWScalars& s = scalars[0];
    samples(parameters, 9973, [&](Index i) {
      double d = double{g[i]} * s.factor, m1 = a.beta1 * m0[i] + (1.0 - a.beta1) * d, v1 = a.beta2 * v0[i] + (1.0 - a.beta2) * d * d;
      worst.see(m[i], m1);
      worst.see(v[i], v1);
      worst.see(p[i], p0[i] - s.lr * (m1 / s.correction1 / (std::sqrt(v1 / s.correction2) + a.eps) + 0.1f * p0[i]));
    });
  };
  return {0, bytes(4 * parameters), bytes(3 * parameters), [=] { kernel::adamw(a); }, check};
}

// What a dense parallel block of N tokens begins with, or, as a sum, ends with: products with qkv's or attention's weights and with the FFN's.
Case gemm_pair(bool sum, Index N) {
  const Index M = sum ? hidden : 3 * hidden, M2 = sum ? hidden : 2 * ffn, K = hidden, K2 = sum ? ffn : hidden;
  auto x = uniform(N * K), w = uniform(M * K), x2 = sum ? uniform(N * K2) : x, w2 = uniform(M2 * K2), y = Array(N * M), y2 = sum ? y : Array(N * M2);
  auto product = [](const float* A, const float* B, float* C, Index rows, Index columns, Index k) {
    GemmArgs a;
    a.transpose_b = true;
    a.M = rows, a.N = columns, a.K = k;
    a.A = A, a.lda = k;
    a.B = B, a.ldb = k;
    a.C = C, a.ldc = columns;
    return a;
  };
  GemmPairArgs pair{product(x, w, y, N, M, K), product(x2, w2, y2, N, M2, K2)};
  if (sum) pair.second.write = Write::add;
  auto check = [=](Worst& worst) {
    samples(N * M2, 97, [&](Index at) {
      const Index i = at / M2, j = at % M2;
      double total = 0;
      for (Index k = 0; k < K2; ++k) total += double{x2[i * K2 + k]} * w2[j * K2 + k];
      for (Index k = 0; sum && k < K; ++k) total += double{x[i * K + k]} * w[j * K + k];
      worst.see(y2[at], total, sum ? K + K2 : K2);
    });
  };
  return {cost(Row::gemm_pair, pair).flops, 0, 0, [=] { kernel::gemm_pair(pair); }, check};
}

std::vector<Entry> entries() {
  std::vector<Entry> all;
  auto add = [&](std::string name, std::function<Case()> make) { all.push_back({std::move(name), std::move(make)}); };

  const Index n = 2048, c = hidden, wide = 2 * ffn;
  const struct {
    const char* name;
    bool transpose_a, transpose_b;
    Index M, N, K;
  } gemms[] = {{"gemm/NT_qkv", false, true, n, 3 * c, c},      {"gemm/NT_ffn_in", false, true, n, wide, c},  {"gemm/NT_ffn_out", false, true, n, c, ffn},
               {"gemm/NT_logits", false, true, n, 4096, c},    {"gemm/NT_logits", false, true, 512, 32768, c}, {"gemm/NN_ffn_in", false, false, n, c, wide},
               {"gemm/NN_ffn_out", false, false, n, ffn, c},   {"gemm/NN_logits", false, false, 512, c, 32768}, {"gemm/TN_ffn_in", true, false, wide, c, n},
               {"gemm/TN_ffn_out", true, false, c, ffn, n},    {"gemm/TN_logits", true, false, 32768, c, 512}};
  for (const auto& g : gemms) add(str(g.name, "/", g.M, "x", g.N, "x", g.K), [=] { return gemm(g.transpose_a, g.transpose_b, g.M, g.N, g.K); });
  add("gemm_pair/NT_begin/2048", [=] { return gemm_pair(false, n); });
  add("gemm_pair/NT_end/2048", [=] { return gemm_pair(true, n); });
  add("grouped_gemm/NT_in/4096x4096x768", [=] { return grouped(false, true, 0, wide, c); });
  add("grouped_gemm/NN_out/4096x2048x768", [=] { return grouped(false, false, 0, ffn, c); });
  add("grouped_gemm/TN_out/768x2048x4096", [=] { return grouped(true, false, c, ffn, 0); });

  const struct {
    const char* name;
    Index kv_heads, gates;
  } attentions[] = {{"MHA/2x1024x12x64", heads, 1}, {"GQA4/2x1024x12x64", 4, 1}, {"BAM4/2x1024x48x64", heads, experts}};
  for (const auto& t : attentions) {
    add(str("attention_forward/", t.name), [=] { return attention(false, t.kv_heads, t.gates); });
    add(str("attention_backward/", t.name), [=] { return attention(true, t.kv_heads, t.gates); });
  }
  // 2048 rows of 768 stay in a large last level cache between calls; 8192 do not.
  for (Index rows : {2048, 8192}) {
    auto row_kernel = [&](const char* name, auto make) { add(str(name, "/", rows), [=] { return make(rows); }); };
    for (bool rms : {false, true}) {
      row_kernel(rms ? "norm_forward/RMS" : "norm_forward/LN", [=](Index r) { return norm(rms, false, r); });
      row_kernel(rms ? "norm_backward/RMS" : "norm_backward/LN", [=](Index r) { return norm(rms, true, r); });
    }
    row_kernel("rope/pairs", [](Index r) { return rope(false, r); });
    row_kernel("rope/halves", [](Index r) { return rope(true, r); });
    row_kernel("swiglu_forward/dense", [](Index r) { return swiglu(false, false, r); });
    row_kernel("swiglu_forward/expert", [](Index r) { return swiglu(false, true, r); });
    row_kernel("swiglu_backward/dense", [](Index r) { return swiglu(true, false, r); });
    row_kernel("swiglu_backward/expert", [](Index r) { return swiglu(true, true, r); });
    row_kernel("router_forward/4top2", [](Index r) { return router(false, r); });
    row_kernel("router_backward/4top2", [](Index r) { return router(true, r); });
    row_kernel("route_plan/4top2", route_plan);
    row_kernel("route_gradient/4top2", route_gradient);
    row_kernel("gather/embedding32768", [](Index r) { return embedding(r, 32768); });
    row_kernel("gather/combine2", combine);
    row_kernel("scatter/embedding32768", [](Index r) { return scatter(r, 32768); });
    row_kernel("unary_forward/gelu", [](Index r) { return unary(Unary::gelu, gelu, false, r); });
    row_kernel("unary_forward/exp", [](Index r) { return unary(Unary::exp, std::exp, false, r); });
    row_kernel("unary_backward/gelu", [](Index r) { return unary(Unary::gelu, gelu, true, r); });
    row_kernel("binary/add", [](Index r) { return binary(false, r); });
    row_kernel("binary/add_row", [](Index r) { return binary(true, r); });
    row_kernel("copy/heads", [](Index r) { return copy(true, r); });
    row_kernel("copy/transpose", [](Index r) { return copy(false, r); });
    row_kernel("reduce/sum_of_row", [](Index r) { return reduce(false, Reduce::sum, r); });
    row_kernel("reduce/sum_over_rows", [](Index r) { return reduce(true, Reduce::sum, r); });
    row_kernel("reduce/max_of_row", [](Index r) { return reduce(false, Reduce::max, r); });
    row_kernel("dropout/0.1", dropout);
  }
  add("softmax_forward/2048x4096", [] { return softmax(false, false, 2048, 4096); });
  add("softmax_forward/log_2048x4096", [] { return softmax(false, true, 2048, 4096); });
  add("softmax_backward/2048x4096", [] { return softmax(true, false, 2048, 4096); });
  add("softmax_backward/log_2048x4096", [] { return softmax(true, true, 2048, 4096); });
  for (auto [rows, classes] : {std::pair<Index, Index>(2048, 4096), {512, 32768}}) {
    add(str("cross_entropy_forward/", rows, "x", classes), [=, r = rows, v = classes] { return cross_entropy(false, r, v); });
    add(str("cross_entropy_backward/", rows, "x", classes), [=, r = rows, v = classes] { return cross_entropy(true, r, v); });
  }
  add("fill/24Mi", fill);
  add("cast/to_bf16_24Mi", [] { return cast(true); });
  add("cast/to_fp32_24Mi", [] { return cast(false); });
  add("sum_squares/24Mi", sum_squares);
  add("adamw/24Mi", adamw);

  for (int row = 0; row < static_cast<int>(Row::count); ++row) {
    const std::string prefix = str(name_of(static_cast<Row>(row)), "/");
    check(std::any_of(all.begin(), all.end(), [&](const Entry& e) { return e.name.starts_with(prefix); }), "bench.row", "no benchmark of ", prefix);
  }
  return all;
}

std::string skip_reason(const Case& c) {
  c.run();
  Worst worst;
  c.check(worst);
  return worst.value <= tolerance ? "" : str("result is off by ", worst.value);
}

void time_case(benchmark::State& state, const Entry& entry, const Limits& limits) {
  // Called once for each guess at the number of iterations and each repetition: the case stays.
  static const Entry* held = nullptr;
  static Case c;
  static std::string wrong;
  if (held != &entry) {
    c = {};
    c = entry.make();
    wrong = skip_reason(c);
    held = &entry;
  }
  if (!wrong.empty()) return state.SkipWithError(wrong.c_str());
  const std::clock_t used = std::clock();
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) c.run();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double cores = real(std::clock() - used) / CLOCKS_PER_SEC / seconds;
  auto [name, limit] = c.flops > 0                    ? std::pair("fma", limits.fma)
                       : c.written == 0               ? std::pair("read", limits.read)
                       : c.read == 0                  ? std::pair("write", limits.write)
                       : c.read >= 1.75 * c.written   ? std::pair("triad", limits.triad)
                                                      : std::pair("copy", limits.copy);
  const double rate = (c.flops > 0 ? c.flops : c.read + c.written) * static_cast<double>(state.iterations()) / seconds;
  state.counters[c.flops > 0 ? "GFLOP/s" : "GB/s"] = rate / 1e9;
  state.counters["percent"] = 100 * rate / limit;
  state.counters["cores"] = cores;  // fewer than threads: something else ran on this machine
  state.SetLabel(name);
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<Entry> all = entries();
  if (std::string_view flag = argc > 1 ? argv[1] : ""; flag.starts_with("--threads=")) {
    set_threads(std::atoi(argv[1] + flag.find('=') + 1));
    std::swap(argv[0], argv[1]);
    ++argv, --argc;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  const Limits limits = bench::measure_limits(cpu::isa());
  benchmark::AddCustomContext("isa", cpu::name_of(cpu::isa()));
  benchmark::AddCustomContext("threads", str(threads()));
  for (auto [name, rate] : {std::pair("limit fma GFLOP/s", limits.fma), {"limit read GB/s", limits.read}, {"limit write GB/s", limits.write},
                            {"limit copy GB/s", limits.copy}, {"limit triad GB/s", limits.triad}})
    benchmark::AddCustomContext(name, str(std::round(rate / 1e8) / 10));
  for (const Entry& e : all)
    benchmark::RegisterBenchmark(e.name.c_str(), [&e, &limits](benchmark::State& state) { time_case(state, e, limits); })
        ->UseRealTime()->Unit(benchmark::kMillisecond);
  benchmark::RunSpecifiedBenchmarks();
} catch (const std::exception& e) {
  std::fprintf(stderr, "kernels_bench: %s\n", e.what());
  return 1;
}
