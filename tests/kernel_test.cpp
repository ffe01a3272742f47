// Every op against its reference in double, forward and backward, and the same bits on every instruction set and number of
// threads. One table row per size; the gradient of the reference is a complex step (reference.hpp).
#include <array>
#include <functional>
#include <sstream>

#include "reference.hpp"

namespace bam::kernel_test {

using reference::Array;
using reference::Arrays;
using reference::at;
using reference::below;
using reference::Complex;
using reference::error_of;
using reference::emulated;
using reference::everywhere;
using reference::Floats;
using reference::floats;
using reference::relative;
using reference::same_bits;
using reference::widen;

namespace {

struct Case {
  std::string name;
  std::vector<Tensor> x;  // each is differentiated
  std::function<std::vector<Tensor>(const std::vector<Tensor>&)> op;
  std::function<Arrays<double>(const Arrays<double>&)> value;
  std::function<Arrays<Complex>(const Arrays<Complex>&)> step;
};
std::vector<Tensor> list(Tensor y) { return {std::move(y)}; }
std::vector<Tensor> list(std::vector<Tensor> y) { return y; }
template <class S>
Arrays<S> list(Array<S> y) {
  return {std::move(y)};
}
template <class S>
Arrays<S> list(Arrays<S> y) {
  return y;
}
// op from tensors, f generic over Arrays<double> and Arrays<Complex>; both give one result or a list.
template <class Op, class F>
Case make(std::string name, std::vector<Tensor> x, Op op, F f) {
  return {std::move(name), std::move(x), [op](const std::vector<Tensor>& t) { return list(op(t)); }, [f](const Arrays<double>& a) { return list(f(a)); },
          [f](const Arrays<Complex>& a) { return list(f(a)); }};
}

// Where the op of a case runs.
Tensor there(const Tensor& t) { return t.defined() ? t.to(default_device()) : t; }
Rope there(const Rope& r) { return {there(r.table), there(r.positions), r.rotate_half}; }

struct Outcome {
  std::vector<Floats> y, dx;
  bool operator==(const Outcome& o) const {
    auto same = [](const auto& a, const auto& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_bits); };
    return same(y, o.y) && same(dx, o.dx);
  }
};

// upstream.size() uses of the op on one tape: the second finds a gradient and adds to it.
Outcome run(const Case& c, const std::vector<std::vector<Tensor>>& upstream) {
  std::vector<Tensor> leaves, outputs, dy;
  for (const Tensor& t : c.x) leaves.push_back(parameter(there(t.clone())));
  Outcome o;
  Tape tape;
  for (const auto& u : upstream) {
    std::vector<Tensor> y = c.op(leaves);
    for (const Tensor& t : y) outputs.push_back(t), o.y.push_back(floats(t));
    for (const Tensor& t : u) dy.push_back(there(t));
  }
  tape.backward(outputs, dy);
  for (const Tensor& t : leaves) o.dx.push_back(floats(t.grad()));
  return o;
}

struct Bound {
  double value, gradient;
};
struct Worst {
  double value = 0, gradient = 0;
};

// Each element of a gradient while there are few. Beyond that, along random directions of +-1: the mean square of the errors of
// the directional derivatives is that of the whole gradient, and a single wrong element shows in every direction.
constexpr std::size_t each_element = 300;
constexpr int directions = 6;

void check_case(const Case& c, Bound bound, Worst& worst) {
  CAPTURE(c.name);
  Random random(7);
  Arrays<double> x;
  Arrays<Complex> z;
  for (const Tensor& t : c.x) x.push_back(widen<double>(t)), z.push_back(widen<Complex>(t));
  Arrays<double> wanted = c.value(x);

  std::vector<std::vector<Tensor>> upstream(2);
  for (auto& u : upstream)
    for (const auto& y : wanted) u.push_back(randn({static_cast<std::int64_t>(y.size())}, random));
  const std::vector<std::vector<Tensor>> first_only(upstream.begin(), upstream.begin() + 1);

  Outcome once, twice;
  bool any = false;
  everywhere([&] {
    Outcome o = run(c, first_only), t = run(c, upstream);
    if (!any) once = o, twice = t;
    any = true;
    CHECK(o == once);
    CHECK(t == twice);
  });
  // The fast CUDA kernels: bits of their own, which no order changes, within the same bounds.
  Outcome fast_once, fast_twice;
  bool fast = false;
  emulated("mma", [&] {
    Outcome o = run(c, first_only), t = run(c, upstream);
    if (!fast) fast_once = o, fast_twice = t;
    fast = true;
    CHECK(o == fast_once);
    CHECK(t == fast_twice);
  });
  auto near = [&](const std::vector<Floats>& got, const std::vector<Floats>& exact, double allowed) {
    for (std::size_t i = 0; fast && i < exact.size(); ++i) CHECK(error_of(got[i], {exact[i].begin(), exact[i].end()}) <= allowed);
  };
  near(fast_once.y, once.y, bound.value);
  near(fast_once.dx, once.dx, bound.gradient);
  near(fast_twice.dx, twice.dx, bound.gradient);

  REQUIRE(once.y.size() == wanted.size());
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    CAPTURE(i);
    REQUIRE(once.y[i].size() == wanted[i].size());
    double error = error_of(once.y[i], wanted[i]);
    worst.value = std::max(worst.value, error);
    CHECK(error <= bound.value);
  }

  const double h = 1e-20;
  auto slopes = [&] {  // dL/dt with the first upstream, and with the sum of both
    Arrays<Complex> y = c.step(z);
    std::pair<double, double> d{0, 0};
    for (std::size_t i = 0; i < y.size(); ++i)
      for (std::size_t k = 0; k < y[i].size(); ++k) {
        double slope = y[i][k].imag() / h, u = static_cast<double>(upstream[0][i].data()[k]);
        d.first += slope * u;
        d.second += slope * (u + static_cast<double>(upstream[1][i].data()[k]));
      }
    return d;
  };
  for (std::size_t i = 0; i < x.size(); ++i) {
    CAPTURE(i);
    const std::size_t n = x[i].size();
    REQUIRE(once.dx[i].size() == n);
    double errors[2] = {}, norms[2] = {};
    if (n <= each_element) {
      std::vector<double> exact[2];
      for (std::size_t k = 0; k < n; ++k) {
        z[i][k] = Complex(x[i][k], h);
        auto [a, b] = slopes();
        z[i][k] = x[i][k];
        exact[0].push_back(a);
        exact[1].push_back(b);
      }
      errors[0] = error_of(once.dx[i], exact[0]);
      errors[1] = error_of(twice.dx[i], exact[1]);
    } else {
      for (int r = 0; r < directions; ++r) {
        double along[2] = {};
        for (std::size_t k = 0; k < n; ++k) {
          double sign = random.bits() & 1 ? 1 : -1;
          z[i][k] = Complex(x[i][k], sign * h);
          along[0] += sign * static_cast<double>(once.dx[i][k]);
          along[1] += sign * static_cast<double>(twice.dx[i][k]);
        }
        auto [a, b] = slopes();
        errors[0] += (along[0] - a) * (along[0] - a) / directions;
        errors[1] += (along[1] - b) * (along[1] - b) / directions;
      }
      z[i].assign(x[i].begin(), x[i].end());
      for (float g : once.dx[i]) norms[0] += static_cast<double>(g) * static_cast<double>(g);
      for (float g : twice.dx[i]) norms[1] += static_cast<double>(g) * static_cast<double>(g);
      for (int k : {0, 1}) errors[k] = relative(errors[k], norms[k]);
    }
    for (double error : errors) {
      worst.gradient = std::max(worst.gradient, error);
      CHECK(error <= bound.gradient);
    }
  }
}

// All rows of a table within one bound; prints the worst of them.
void check_all(const std::string& op, const std::vector<Case>& cases, Bound bound) {
  Worst worst;
  for (const Case& c : cases) check_case(c, bound, worst);
  MESSAGE(op << ": " << cases.size() << " rows, worst error forward " << worst.value << " (bound " << bound.value << "), backward " << worst.gradient
             << " (bound " << bound.gradient << ")");
}

template <class... T>
std::string label(const T&... parts) {
  std::ostringstream out;
  ((out << parts << ' '), ...);
  return out.str();
}

}  // namespace

TEST_CASE("linear, linear_add and their gradients") {
  Random random(1);
  std::vector<Case> cases;
  using Size = std::array<std::int64_t, 3>;
  for (auto row : {Size{0, 5, 3},
                   {3, 0, 4},
                   {3, 5, 0},
                   {1, 1, 1},
                   {2, 3, 5},
                   {7, 13, 11},
                   {15, 16, 17},
                   {33, 31, 15},
                   {13, 17, 47},
                   {12, 321, 49},
                   {4, 2053, 3},
                   {197, 19, 389},
                   {967, 5, 3}}) {
    const std::int64_t n = row[0], k = row[1], o = row[2];
    Tensor x = randn({n, k}, random), w = randn({o, k}, random), residual = randn({n, o}, random);
    cases.push_back(make(
        label("linear", n, k, o), {x, w}, [](const auto& t) { return linear(t[0], t[1]); },
        [=](const auto& a) { return reference::linear(a[0], a[1], n, k, o); }));
    cases.push_back(make(
        label("linear_add", n, k, o), {residual, x, w}, [](const auto& t) { return linear_add(t[0], t[1], t[2]); },
        [=](const auto& a) {
          auto y = reference::linear(a[1], a[2], n, k, o);
          for (std::size_t i = 0; i < y.size(); ++i) y[i] += a[0][i];
          return y;
        }));
    const std::int64_t k2 = k + 2;
    cases.push_back(make(
        label("linear_add of two products", n, k, o), {residual, x, w, randn({n, k2}, random), randn({o, k2}, random)}, [](const auto& t) { return linear_add(t[0], t[1], t[2], t[3], t[4]); },
        [=](const auto& a) {
          auto y = reference::linear(a[1], a[2], n, k, o), more = reference::linear(a[3], a[4], n, k2, o);
          for (std::size_t i = 0; i < y.size(); ++i) y[i] += a[0][i] + more[i];
          return y;
        }));
  }
  check_all("linear", cases, {2e-6, 2e-6});
}

TEST_CASE("matmul: four layouts, batches, a repeated operand") {
  Random random(2);
  std::vector<Case> cases;
  struct Row {
    Shape a, b;  // batch axes
    std::int64_t M, N, K;
  };
  for (const Row& r : std::vector<Row>{{{}, {}, 1, 1, 1},
                                       {{}, {}, 5, 7, 6},
                                       {{}, {}, 12, 32, 13},
                                       {{}, {}, 13, 33, 331},
                                       {{2, 3}, {2, 3}, 6, 5, 11},
                                       {{}, {5}, 3, 17, 4},
                                       {{5}, {}, 7, 1, 16},
                                       {{1}, {3}, 4, 16, 5},
                                       {{3}, {1, 1}, 2, 3, 2},
                                       {{0}, {0}, 2, 3, 2},
                                       {{0}, {}, 2, 3, 2},
                                       {{1}, {2, 0}, 2, 3, 2},
                                       {{1, 2}, {2}, 2, 3, 2},
                                       {{2}, {2}, 3, 4, 0},
                                       {{2}, {}, 0, 3, 4}})
    for (bool ta : {false, true})
      for (bool tb : {false, true}) {
        Shape a = r.a, b = r.b;
        for (std::int64_t d : {ta ? r.K : r.M, ta ? r.M : r.K}) a.push_back(d);
        for (std::int64_t d : {tb ? r.N : r.K, tb ? r.K : r.N}) b.push_back(d);
        std::int64_t batch_a = numel(r.a), batch_b = numel(r.b), batch = batch_a == 1 ? batch_b : batch_a;
        cases.push_back(make(
            label("matmul", to_string(a), to_string(b), ta ? "a^T" : "a", tb ? "b^T" : "b"), {randn(a, random), randn(b, random)},
            [=](const auto& t) { return matmul(t[0], t[1], ta, tb); },
            [=](const auto& x) {
              auto y = x[0];
              y.assign(at(batch * r.M * r.N), 0.0);
              for (std::int64_t i = 0; i < batch; ++i)
                reference::matmul(x[0].data() + (batch_a == 1 ? 0 : i) * r.M * r.K, x[1].data() + (batch_b == 1 ? 0 : i) * r.K * r.N, y.data() + i * r.M * r.N,
                                  r.M, r.N, r.K, ta, tb);
              return y;
            }));
      }
  check_all("matmul", cases, {2e-6, 2e-6});
}

TEST_CASE("layer_norm and rms_norm") {
  Random random(3);
  std::vector<Case> cases;
  struct Row {
    std::int64_t rows, columns;
    float eps;
  };
  // few columns with a small eps leave nothing but rounding in dx, for any method: there eps is large
  for (Row r :
       {Row{0, 8, 1e-5f}, {1, 1, 0.5f}, {3, 2, 0.5f}, {5, 15, 1e-5f}, {7, 16, 1e-5f}, {4, 17, 1e-5f}, {3, 33, 1e-5f}, {65, 257, 1e-5f}, {131, 2003, 1e-6f}})
    for (bool rms : {false, true})
      cases.push_back(make(
          label(rms ? "rms_norm" : "layer_norm", r.rows, r.columns), {randn({r.rows, r.columns}, random), randn({r.columns}, random)},
          [=](const auto& t) { return rms ? rms_norm(t[0], t[1], r.eps) : layer_norm(t[0], t[1], r.eps); },
          [=](const auto& a) { return reference::norm(a[0], a[1], r.rows, r.columns, static_cast<double>(r.eps), rms); }));
  check_all("norm", cases, {2e-6, 2e-6});
}

TEST_CASE("rope and qkv_projection, pairs and halves") {
  Random random(4);
  std::vector<Case> cases;
  struct Row {
    std::int64_t n, heads, turned, d, c;
  };
  for (Row r : {Row{0, 2, 1, 4, 3}, {1, 1, 1, 2, 1}, {5, 3, 2, 6, 7}, {7, 1, 1, 16, 5}, {4, 4, 3, 30, 17}, {3, 2, 1, 34, 4}, {67, 5, 4, 64, 13}})
    for (bool half : {false, true}) {
      Rope turn{rope_table(50, r.d, 10000), tensor(below(r.n, 50, random)), half};
      auto p = below(0, 1, random);
      for (std::int32_t v : turn.positions.values<std::int32_t>()) p.push_back(v);
      std::int64_t width = r.heads * r.d;
      cases.push_back(make(
          label("rope", r.n, r.heads, r.d, half ? "half" : "pairs"), {randn({r.n, width}, random)}, [=](const auto& t) { return rope(t[0], there(turn)); },
          [=](const auto& a) { return reference::rope(a[0], p, width, r.heads, r.d, 10000, half); }));
      cases.push_back(make(
          label("qkv_projection", r.n, r.heads, r.d, half ? "half" : "pairs"), {randn({r.n, r.c}, random), randn({width, r.c}, random)},
          [=](const auto& t) { return qkv_projection(t[0], t[1], there(turn), r.turned); },
          [=](const auto& a) { return reference::rope(reference::linear(a[0], a[1], r.n, r.c, width), p, width, r.turned, r.d, 10000, half); }));
      cases.push_back(make(
          label("qkv_projection beside another", r.n, r.heads, r.d, half ? "half" : "pairs"), {randn({r.n, r.c}, random), randn({width, r.c}, random), randn({width, r.c}, random)},
          [=](const auto& t) {
            auto [qkv, y] = qkv_projection(t[0], t[1], there(turn), r.turned, t[2]);
            return add(qkv, y);
          },
          [=](const auto& a) {
            auto sum = reference::rope(reference::linear(a[0], a[1], r.n, r.c, width), p, width, r.turned, r.d, 10000, half), y = reference::linear(a[0], a[2], r.n, r.c, width);
            for (std::size_t i = 0; i < y.size(); ++i) sum[i] += y[i];
            return sum;
          }));
    }
  check_all("rope", cases, {2e-6, 2e-6});
}

TEST_CASE("attention: grouped KV heads, gates, packed documents") {
  Random random(5);
  std::vector<Case> cases;
  struct Row {
    std::vector<std::int64_t> lengths;
    std::int64_t heads, kv_heads, group, d, gates;
    bool causal = true;
    float scale = 0;
  };
  for (const Row& r : std::vector<Row>{{{0}, 1, 1, 0, 4, 0},
                                       {{1}, 1, 1, 0, 1, 0},
                                       {{1, 1, 2}, 2, 1, 0, 3, 2},
                                       {{7}, 4, 2, 0, 5, 0},
                                       {{15, 0, 16}, 2, 2, 0, 15, 1},
                                       {{17, 3}, 4, 2, 1, 16, 2},  // shared KV of a mixture: head h reads h % 2
                                       {{13}, 12, 3, 2, 8, 6},     // two experts of six heads, three KV heads each
                                       {{64}, 2, 1, 0, 17, 0},
                                       {{65, 31}, 2, 1, 0, 33, 2},
                                       {{63}, 1, 1, 0, 64, 1},
                                       {{97}, 2, 2, 0, 32, 2},
                                       {{130}, 2, 1, 0, 7, 1},
                                       {{5, 193, 2}, 1, 1, 0, 16, 1},
                                       {{9, 70}, 2, 1, 0, 13, 0, false},
                                       {{101}, 2, 2, 0, 9, 2, false, 0.3f},
                                       {{33}, 3, 3, 0, 20, 3, true, 2.0f}}) {
    std::int64_t n = 0, q = r.heads * r.d, kv = r.kv_heads * r.d, width = q + 2 * kv;
    for (std::int64_t l : r.lengths) n += l;
    Segments s = segments(r.lengths);
    AttentionShape shape{r.heads, r.kv_heads, r.d, r.group, r.causal, r.scale};
    reference::AttentionSize size{r.heads, r.kv_heads, r.group ? r.group : r.heads / r.kv_heads, r.d, r.causal, static_cast<double>(r.scale)};
    std::vector<Tensor> x{randn({n, width}, random)};
    if (r.gates) x.push_back(randn({n, r.gates}, random));
    cases.push_back(make(
        label("attention", n, r.lengths.size(), r.heads, r.kv_heads, r.group, r.d, r.gates), x,
        [=](const auto& t) { return attention(t[0], t.size() > 1 ? t[1] : Tensor(), shape, s); },
        [=](const auto& a) {
          auto none = a[0];
          none.clear();
          return reference::attention(reference::columns(a[0], width, 0, q), reference::columns(a[0], width, q, kv),
                                      reference::columns(a[0], width, q + kv, kv), a.size() > 1 ? a[1] : none, r.gates, size, s.list());
        }));
  }
  check_all("attention", cases, {3e-6, 3e-6});
}

namespace {
// The contract row itself, q, k and v apart: what a cache needs, with its backward.
Tensor attention_rows(const std::vector<Tensor>& t, const reference::AttentionSize& z, const Segments& parts) {
  const Tensor &q = t[0], &k = t[1], &v = t[2], gate = t.size() > 3 ? t[3] : Tensor();
  const Device device = q.device();
  Tensor out(q.shape(), DType::f32, device), lse({z.heads, q.rows()}, DType::f32, device);
  AttentionArgs a;
  a.causal = z.causal;
  a.segments = static_cast<std::int64_t>(parts.list().size());
  a.segment = parts.address(device);
  a.rows = q.rows();
  a.heads = z.heads;
  a.kv_heads = z.kv_heads;
  a.group = z.group;
  a.head_dim = z.d;
  a.scale = 1 / std::sqrt(static_cast<float>(z.d));
  a.q = q.raw();
  a.k = k.raw();
  a.v = v.raw();
  a.q_row = a.out_row = a.dout_row = q.columns();
  a.k_row = a.v_row = k.columns();
  if (gate.defined()) a.gate = gate.address(), a.gate_row = gate.columns(), a.heads_per_gate = z.heads / gate.columns();
  a.out = out.raw();
  a.lse = lse.address();
  kernel::attention_forward(a, device);
  record({q, k, v, gate.defined() ? gate : q}, {out}, [=, o = out.detach(), g = out.gradient()]() mutable {
    auto cleared = [&](const Tensor& like) { return zeros(like.shape(), DType::f32, device); };
    Tensor dq = cleared(q), dk = cleared(k), dv = cleared(v), dgate = gate.defined() ? cleared(gate) : Tensor();
    a.lse = lse.address();
    a.dout = g->data();
    a.dq = dq.raw();
    a.dk = dk.raw();
    a.dv = dv.raw();
    if (gate.defined()) a.dgate = dgate.address();
    kernel::attention_backward(a, device);
    for (auto [to, from] : {std::pair{q, dq}, {k, dk}, {v, dv}, {gate, dgate}}) {
      if (!to.defined()) continue;
      auto [y, write] = to.gradient()->target(to.numel());
      detail::broadcast_copy(from.address(), from.shape(), y, to.shape(), write, device);
    }
  });
  return out;
}
}  // namespace

TEST_CASE("attention rows: queries at an offset, keys elsewhere, rows that see nothing") {
  Random random(16);
  std::vector<Case> cases;
  struct Row {
    std::vector<Segment> segments;
    std::int64_t q_rows, k_rows, heads, kv_heads, d, gates;
    bool causal = true;
  };
  for (const Row& r : std::vector<Row>{{{{0, 1, 0, 9}}, 1, 9, 2, 1, 5, 0},
                                       {{{0, 3, 2, 66}}, 3, 70, 4, 2, 16, 2},
                                       {{{2, 5, 130, 67}, {0, 2, 1, 129}}, 7, 200, 2, 2, 17, 1},  // out of order, keys between them unused
                                       {{{0, 100, 0, 197}}, 100, 197, 1, 1, 8, 1},
                                       {{{0, 97, 0, 64}}, 97, 64, 2, 1, 6, 2},  // the first 33 queries see no key
                                       {{{0, 5, 0, 0}, {5, 2, 0, 3}}, 7, 3, 2, 1, 4, 0},
                                       {{{0, 4, 0, 71}}, 4, 71, 2, 1, 33, 2, false},
                                       {{{0, 970, 0, 30}}, 970, 30, 2, 1, 3, 1, false},  // more queries than are packed at a time
                                       {{{0, 1000, 0, 100}}, 1000, 100, 1, 1, 2, 0}}) {
    std::vector<Tensor> x{randn({r.q_rows, r.heads * r.d}, random), randn({r.k_rows, r.kv_heads * r.d}, random), randn({r.k_rows, r.kv_heads * r.d}, random)};
    if (r.gates) x.push_back(randn({r.q_rows, r.gates}, random));
    reference::AttentionSize z{r.heads, r.kv_heads, r.heads / r.kv_heads, r.d, r.causal};
    cases.push_back(make(
        label("attention rows", r.q_rows, r.k_rows, r.heads, r.d), x, [=, parts = Segments(r.segments)](const auto& t) { return attention_rows(t, z, parts); },
        [=](const auto& a) {
          auto gate = a.size() > 3 ? a[3] : a[0];
          return reference::attention(a[0], a[1], a[2], gate, r.gates, z, r.segments);
        }));
  }
  check_all("attention rows", cases, {3e-6, 3e-6});
}

TEST_CASE("swiglu") {
  Random random(6);
  std::vector<Case> cases;
  using Size = std::array<std::int64_t, 2>;
  for (auto row : {Size{0, 4}, {1, 1}, {3, 15}, {2, 16}, {5, 17}, {7, 33}, {31, 1009}}) {
    const std::int64_t n = row[0], f = row[1];
    cases.push_back(make(
        label("swiglu", n, f), {randn({n, 2 * f}, random, 3)}, [](const auto& t) { return swiglu(t[0]); },
        [=](const auto& a) { return reference::swiglu(a[0], {}, n, f); }));
  }
  check_all("swiglu", cases, {2e-6, 2e-6});
}

TEST_CASE("router: gates, balance and z") {
  Random random(7);
  std::vector<Case> cases;
  const bool counted = reference::counted();
  struct Row {
    std::int64_t n, e, k;
    bool renormalize, real, f;
  };
  for (Row r : {Row{0, 4, 2, true, false, false},
                {1, 1, 1, false, false, false},
                {5, 2, 1, false, false, true},
                {7, 3, 2, true, false, false},
                {13, 8, 2, true, true, true},
                {13, 8, 2, false, true, false},
                {6, 16, 16, true, false, true},
                {9, 17, 3, false, true, true},
                {11, 33, 5, true, true, false},
                {4, 5, 1, true, false, false},
                {70, 70, 3, false, true, false},
                {1031, 6, 2, true, true, true}}) {
    std::vector<std::uint8_t> real;
    std::vector<float> f;
    for (std::int64_t i = 0; r.real && i < r.n; ++i) real.push_back(i % 3 != 1);
    for (std::int64_t i = 0; r.f && i < r.e; ++i) f.push_back(static_cast<float>(random.uniform()));
    std::vector<double> shares(f.begin(), f.end());
    Tensor real_rows = r.real ? tensor(real) : Tensor(), share = r.f ? tensor(f) : Tensor();
    cases.push_back(make(
        label("route", r.n, r.e, r.k, r.renormalize, r.real, r.f), {randn({r.n, r.e}, random)},
        [=](const auto& t) {
          Routing o = route(t[0], r.k, r.renormalize, there(real_rows), there(share));
          return std::vector<Tensor>{o.gates, o.balance, o.z};
        },
        [=](const auto& a) {
          auto o = reference::route(a[0], r.e, r.k, r.renormalize, real, shares);
          return std::vector{o.gates, o.balance, o.z};
        }));
    Tensor logits = cases.back().x[0];
    auto o = reference::route(widen<double>(logits), r.e, r.k, r.renormalize, real, shares);
    everywhere([&] {
      RoutePlan plan;
      Routing got = route(logits, r.k, r.renormalize, real_rows, share, &plan);
      CHECK(std::equal(o.chosen.begin(), o.chosen.end(), got.chosen.data<std::int32_t>()));
      CHECK(std::equal(o.counts.begin(), o.counts.end(), got.counts.data<std::int64_t>()));
      std::int64_t slot = 0;
      bool stable = true;  // by expert, then token, whether or not it is real
      for (std::int64_t e = 0; e < r.e; ++e) {
        stable = stable && plan.offsets.data<std::int64_t>()[e] == slot;
        for (std::int64_t i = 0; i < r.n * r.k; ++i) {
          if (o.chosen[at(i)] != e) continue;
          stable = stable && plan.slot_token.data<std::int64_t>()[slot] == i / r.k && plan.token_slot.data<std::int64_t>()[i] == slot && plan.slot_gate.data()[slot] == got.gates.data()[i / r.k * r.e + e];
          ++slot;
        }
      }
      CHECK(stable);
      CHECK(plan.offsets.data<std::int64_t>()[r.e] == slot);
    });
    if (!counted) continue;
    emulated("mma", [&] {
      RoutePlan plan;
      const std::int64_t before = cuda::emulation::counts().launches;
      (void)route(logits, r.k, r.renormalize, real_rows, share);
      const std::int64_t alone = cuda::emulation::counts().launches;
      (void)route(logits, r.k, r.renormalize, real_rows, share, &plan);
      CHECK(alone - before == (r.f || r.n == 0 ? 2 : 3));
      CHECK(cuda::emulation::counts().launches - alone == (r.n == 0 ? 2 : 3));
    });
  }
  check_all("router", cases, {2e-6, 3e-6});
}

TEST_CASE("router: equal logits go to the lower index") {
  everywhere([] {
    Routing r = route(tensor(std::vector<float>{1, 2, 2, 1, 2, 0, 0, 0, 0, 0}, {2, 5}), 4, false);
    auto chosen = r.chosen.values<std::int32_t>();
    CHECK(std::vector<std::int32_t>(chosen.begin(), chosen.end()) == std::vector<std::int32_t>{1, 2, 4, 0, 0, 1, 2, 3});
  });
}

TEST_CASE("mixture_ffn: grouped experts, some without a token") {
  Random random(8);
  std::vector<Case> cases;
  enum Choice { spread, one, last };
  struct Row {
    std::int64_t n, e, k, c, f;
    Choice choice = spread;
  };
  for (Row r : {Row{0, 3, 2, 4, 5},
                {1, 1, 1, 1, 1},
                {5, 4, 2, 7, 3},
                {17, 3, 3, 16, 17},
                {33, 8, 2, 15, 31},
                {13, 4, 1, 5, 6, one},
                {29, 5, 2, 6, 4, last},
                {131, 3, 2, 33, 47}}) {
    std::vector<std::int32_t> chosen;
    for (std::int64_t t = 0; t < r.n; ++t)
      for (std::int64_t j = 0; j < r.k; ++j)  // spread: k different ones; one: always expert 2; last: only the last k
        chosen.push_back(static_cast<std::int32_t>(r.choice == one ? 2 : r.choice == last ? r.e - 1 - j : (t * t + j * (1 + (t % 2) * (r.e > 2 * r.k))) % r.e));
    Routing routing{Tensor(), tensor(chosen, {r.n, r.k}), {}, {}, {}};
    std::vector<Tensor> x{randn({r.n, r.c}, random), randn({r.n, r.c}, random), randn({r.n, r.e}, random), randn({r.e, 2 * r.f, r.c}, random),
                          randn({r.e, r.c, r.f}, random)};
    cases.push_back(make(
        label("mixture_ffn", r.n, r.e, r.k, r.c, r.f, r.choice), x,
        [=](const auto& t) {
          Routing o = routing;
          o.gates = t[2];
          o.chosen = there(o.chosen);
          return mixture_ffn(t[0], t[1], o, t[3], t[4]);
        },
        [=](const auto& a) { return reference::mixture_ffn(a[0], a[1], a[2], chosen, a[3], a[4], r.e, r.c, r.f); }));
    if (r.choice == spread)
      cases.push_back(make(
          label("route + mixture_ffn", r.n, r.e, r.k, r.c, r.f), x,
          [=](const auto& t) {
            RoutePlan plan;
            const Routing o = route(t[2], r.k, true, {}, {}, &plan);
            return mixture_ffn(t[0], t[1], o, t[3], t[4], nullptr, &plan);
          },
          [=](const auto& a) {
            auto o = reference::route(a[2], r.e, r.k, true, {}, {});
            return reference::mixture_ffn(a[0], a[1], o.gates, o.chosen, a[3], a[4], r.e, r.c, r.f);
          }));
  }
  check_all("mixture_ffn", cases, {2e-6, 4e-6});
}

TEST_CASE("rows by index: embedding, take_rows, add_rows") {
  Random random(9);
  std::vector<Case> cases;
  using Size = std::array<std::int64_t, 3>;
  for (auto row : {Size{0, 3, 4}, {1, 1, 1}, {7, 3, 15}, {16, 50, 16}, {33, 5, 17}, {201, 11, 131}}) {
    const std::int64_t n = row[0], v = row[1], c = row[2];
    auto ids = below(n, v, random, 5);
    std::vector<std::int64_t> wide(ids.begin(), ids.end());
    cases.push_back(make(
        label("embedding", n, v, c), {randn({v, c}, random)}, [i = tensor(ids)](const auto& t) { return embedding(t[0], there(i)); },
        [=](const auto& a) { return reference::take_rows(a[0], wide, c); }));
    cases.push_back(make(
        label("take_rows", n, v, c), {randn({v, c}, random)}, [i = tensor(wide)](const auto& t) { return take_rows(t[0], there(i)); },
        [=](const auto& a) { return reference::take_rows(a[0], wide, c); }));
    cases.push_back(make(
        label("add_rows", n, v, c), {randn({n, c}, random)}, [=, i = tensor(wide)](const auto& t) { return add_rows(t[0], there(i), v); },
        [=](const auto& a) { return reference::add_rows(a[0], wide, c, v); }));
  }
  check_all("rows by index", cases, {1e-6, 1e-6});
}

TEST_CASE("softmax, log_softmax and cross-entropy") {
  Random random(10);
  std::vector<Case> cases;
  using Size = std::array<std::int64_t, 2>;
  for (auto row : {Size{0, 5}, {3, 1}, {2, 2}, {5, 15}, {4, 16}, {3, 17}, {7, 33}, {41, 1009}}) {
    const std::int64_t n = row[0], v = row[1];
    Tensor x = randn({n, v}, random, 2);
    auto targets = below(n, v, random, 4);
    auto softmax_rows = [=](auto a, bool log) {
      for (std::int64_t r = 0; r < n; ++r) {
        auto* p = a[0].data() + r * v;
        if (log) {
          auto lse = reference::log_sum_exp(p, v);
          for (std::int64_t i = 0; i < v; ++i) p[i] -= lse;
        } else {
          reference::softmax(p, p, v);
        }
      }
      return a[0];
    };
    cases.push_back(make(
        label("softmax", n, v), {x}, [](const auto& t) { return softmax(t[0]); }, [=](const auto& a) { return softmax_rows(a, false); }));
    cases.push_back(make(
        label("log_softmax", n, v), {x}, [](const auto& t) { return log_softmax(t[0]); }, [=](const auto& a) { return softmax_rows(a, true); }));
    for (float scale : {1.0f, 0.25f})
      cases.push_back(make(
          label("cross_entropy_rows", n, v, scale), {x}, [=, i = tensor(targets)](const auto& t) { return cross_entropy_rows(t[0], there(i), scale); },
          [=](const auto& a) { return reference::cross_entropy(a[0], targets, v, static_cast<double>(scale)); }));
    std::int64_t c = v % 19 + 1;
    cases.push_back(make(
        label("linear_cross_entropy", n, v, c), {randn({n, c}, random), randn({v, c}, random)},
        [=, i = tensor(targets)](const auto& t) { return linear_cross_entropy(t[0], t[1], there(i), 0.5f); },
        [=](const auto& a) { return reference::cross_entropy(reference::linear(a[0], a[1], n, c, v), targets, v, 0.5); }));
  }
  check_all("softmax and cross-entropy", cases, {2e-6, 4e-6});
}

namespace {
template <class S>
S apply(Unary op, S x) {
  const bool positive = reference::real(x) > 0;
  switch (op) {
    case Unary::copy:
      return x;
    case Unary::neg:
      return -x;
    case Unary::exp:
      return std::exp(x);
    case Unary::log:
      return std::log(x);
    case Unary::sqrt:
      return std::sqrt(x);
    case Unary::tanh:
      return std::tanh(x);
    case Unary::sigmoid:
      return reference::sigmoid(x);
    case Unary::silu:
      return reference::silu(x);
    case Unary::gelu:
      return reference::gelu(x);
    case Unary::relu:
      return positive ? x : S(0.0);
    case Unary::square:
      return x * x;
    case Unary::softplus:
      return reference::softplus(x);
    case Unary::abs:
      return positive ? x : -x;
    case Unary::reciprocal:
      return 1.0 / x;
    case Unary::sin:
      return std::sin(x);
    case Unary::cos:
      return std::cos(x);
  }
  return x;
}
template <class S>
S apply(Binary op, S a, S b) {
  const bool more = reference::real(a) > reference::real(b), same = reference::real(a) == reference::real(b);
  switch (op) {
    case Binary::add:
      return a + b;
    case Binary::sub:
      return a - b;
    case Binary::mul:
      return a * b;
    case Binary::div:
      return a / b;
    case Binary::maximum:
      return more ? a : same ? 0.5 * (a + b) : b;  // ties share the gradient
    case Binary::minimum:
      return more ? b : same ? 0.5 * (a + b) : a;
    case Binary::greater:
      return more ? 1.0 : 0.0;
    case Binary::equal:
      return same ? 1.0 : 0.0;
  }
  return a;
}
}  // namespace

TEST_CASE("elementwise, one operand") {
  Random random(11);
  std::vector<Case> cases;
  using Op = Tensor (*)(const Tensor&);
  struct Row {
    const char* name;
    Unary op;
    Op f;
    bool positive = false;
  };
  for (const Row& r : {Row{"neg", Unary::neg, bam::neg},
                       {"exp", Unary::exp, bam::exp},
                       {"log", Unary::log, bam::log, true},
                       {"sqrt", Unary::sqrt, bam::sqrt, true},
                       {"tanh", Unary::tanh, bam::tanh},
                       {"sigmoid", Unary::sigmoid, bam::sigmoid},
                       {"silu", Unary::silu, bam::silu},
                       {"gelu", Unary::gelu, bam::gelu},
                       {"relu", Unary::relu, bam::relu},
                       {"square", Unary::square, bam::square},
                       {"softplus", Unary::softplus, bam::softplus},
                       {"abs", Unary::abs, bam::abs},
                       {"reciprocal", Unary::reciprocal, bam::reciprocal, true},
                       {"sin", Unary::sin, bam::sin},
                       {"cos", Unary::cos, bam::cos}})
    for (std::int64_t n : {0, 1, 15, 16, 17, 131, 16411})
      cases.push_back(make(
          label(r.name, n), {r.positive ? bam::rand({n}, random, 0.1, 4) : randn({n}, random, 2)}, [=](const auto& t) { return r.f(t[0]); },
          [=](auto a) {
            for (auto& x : a[0]) x = apply(r.op, x);
            return a[0];
          }));
  for (std::int64_t n : {0, 1, 33, 16411})
    cases.push_back(make(
        label("scale", n), {randn({n}, random)}, [](const auto& t) { return scale(t[0], -0.75f, 3.0f); },
        [](auto a) {
          for (auto& x : a[0]) x = -0.75 * x + 3.0;
          return a[0];
        }));
  check_all("elementwise, one operand", cases, {1e-6, 2e-6});
}

TEST_CASE("elementwise, two operands with broadcasting") {
  Random random(12);
  std::vector<Case> cases;
  using Op = Tensor (*)(const Tensor&, const Tensor&);
  struct Row {
    const char* name;
    Binary op;
    Op f;
  };
  using Pair = std::pair<Shape, Shape>;
  for (const Row& r : {Row{"add", Binary::add, add},
                       {"sub", Binary::sub, sub},
                       {"mul", Binary::mul, mul},
                       {"div", Binary::div, bam::div},
                       {"maximum", Binary::maximum, maximum},
                       {"minimum", Binary::minimum, minimum},
                       {"greater", Binary::greater, greater},
                       {"equal", Binary::equal, equal}})
    for (const Pair& pair : {Pair{{0, 3}, {3}},
                             {{}, {}},
                             {{1}, {5}},
                             {{17}, {17}},
                             {{4, 15}, {15}},
                             {{4, 1}, {4, 16}},
                             {{4, 1}, {1, 17}},
                             {{3}, {2, 5, 1}},
                             {{2, 1, 3, 1, 2, 5}, {3, 1, 4, 1, 5}},
                             {{129, 130}, {130}},
                             {{129, 1}, {129, 130}}}) {
      const Shape &a = pair.first, &b = pair.second;
      Tensor x = randn(a, random), y = randn(b, random);
      for (float* p : {x.data(), y.data()})  // coarse values, so that some are equal; none is 0
        for (std::int64_t i = 0; i < (p == x.data() ? x : y).numel(); ++i)
          p[i] = (p[i] < 0 ? -0.25f : 0.25f) + static_cast<float>(static_cast<int>(p[i] * 4)) / 4;
      Shape shape = detail::broadcast_shape(a, b);
      cases.push_back(make(
          label(r.name, to_string(a), to_string(b)), {x, y}, [=](const auto& t) { return r.f(t[0], t[1]); },
          [=](const auto& v) { return reference::broadcast(v[0], a, v[1], b, shape, [&](auto p, auto q) { return apply(r.op, p, q); }); }));
    }
  check_all("elementwise, two operands", cases, {1e-6, 2e-6});
}

TEST_CASE("reductions over axes, and the losses made of them") {
  Random random(13);
  std::vector<Case> cases;
  struct Row {
    Shape shape;
    std::vector<std::int64_t> axes;  // empty: all
  };
  for (const Row& r : std::vector<Row>{{{}, {}},
                                       {{1}, {0}},
                                       {{17}, {}},
                                       {{0, 5}, {0}},
                                       {{5, 0}, {1}},
                                       {{3, 33}, {1}},
                                       {{33, 3}, {0}},
                                       {{2, 3, 5}, {0, 2}},
                                       {{2, 3, 5}, {1}},
                                       {{4, 2, 3, 2}, {-1, 0}},
                                       {{7, 131, 19}, {1}},
                                       {{131, 257}, {0}},
                                       {{131, 257}, {1}},
                                       {{2, 40009}, {}}})
    for (bool keep : {false, true}) {
      auto axes = detail::axes_of("test", randn(r.shape, random), r.axes);
      Shape kept = r.shape;
      std::int64_t count = 1;
      for (std::int64_t a : axes) count *= kept[at(a)], kept[at(a)] = 1;
      std::string name = label(to_string(r.shape), "over", to_string(axes));
      // signed values whose mean is not 0: a sum that cancels has no digits to compare
      cases.push_back(make(
          label("sum", name), {bam::rand(r.shape, random, -1, 2)}, [=](const auto& t) { return sum(t[0], r.axes, keep); },
          [=](const auto& a) { return reference::sum(a[0], r.shape, kept); }));
      if (count == 0) continue;
      cases.push_back(make(
          label("mean", name), {bam::rand(r.shape, random, -1, 2)}, [=](const auto& t) { return mean(t[0], r.axes, keep); },
          [=](const auto& a) { return reference::sum(a[0], r.shape, kept, 1 / static_cast<double>(count)); }));
      if (axes.size() == 1)
        cases.push_back(make(
            label("max", name), {randn(r.shape, random)}, [=](const auto& t) { return bam::max(t[0], axes[0], keep); },
            [=](const auto& a) { return reference::max(a[0], r.shape, kept); }));
    }
  for (std::int64_t n : {1, 7, 1000}) {
    cases.push_back(make(
        label("mse_loss", n), {randn({n, 3}, random), randn({n, 3}, random)}, [](const auto& t) { return mse_loss(t[0], t[1]); },
        [=](const auto& a) {
          auto total = a[0][0] * 0.0;
          for (std::size_t i = 0; i < a[0].size(); ++i) total += (a[0][i] - a[1][i]) * (a[0][i] - a[1][i]) / static_cast<double>(3 * n);
          return std::vector{total};
        }));
    cases.push_back(make(
        label("bce_loss", n), {randn({n}, random), bam::rand({n}, random)}, [](const auto& t) { return bce_loss(t[0], t[1]); },
        [=](const auto& a) {
          auto total = a[0][0] * 0.0;
          for (std::size_t i = 0; i < a[0].size(); ++i) total += (reference::softplus(a[0][i]) - a[0][i] * a[1][i]) / static_cast<double>(n);
          return std::vector{total};
        }));
    auto targets = below(n, 5, random, 3);
    targets[0] = 1;
    double trained = static_cast<double>(std::count_if(targets.begin(), targets.end(), [](auto i) { return i >= 0; }));
    cases.push_back(make(
        label("cross_entropy", n), {randn({n, 5}, random)}, [i = tensor(targets)](const auto& t) { return cross_entropy(t[0], there(i)); },
        [=](const auto& a) {
          auto total = a[0][0] * 0.0;
          for (auto v : reference::cross_entropy(a[0], targets, 5, 1)) total += v / trained;
          return std::vector{total};
        }));
  }
  check_all("reductions", cases, {3e-6, 3e-6});
}

TEST_CASE("permute, transpose, slice, concat") {
  Random random(14);
  std::vector<Case> cases;
  struct Order {
    Shape shape;
    std::vector<std::int64_t> order;
  };
  for (const Order& r : std::vector<Order>{{{1}, {0}},
                                           {{0, 3}, {1, 0}},
                                           {{17, 33}, {1, 0}},
                                           {{2, 3, 5}, {2, 0, 1}},
                                           {{2, 3, 5}, {0, 2, 1}},
                                           {{2, 3, 1, 2, 4, 3}, {5, 1, 4, 0, 3, 2}},
                                           {{131, 157}, {1, 0}}})
    cases.push_back(make(
        label("permute", to_string(r.shape), to_string(r.order)), {randn(r.shape, random)}, [=](const auto& t) { return permute(t[0], r.order); },
        [=](const auto& a) { return reference::permute(a[0], r.shape, r.order); }));
  struct Part {
    Shape shape;
    std::int64_t axis, begin, end;
  };
  for (const Part& r : std::vector<Part>{
           {{5}, 0, 0, 5}, {{5}, 0, 2, 2}, {{7, 3}, 0, 2, 5}, {{7, 33}, 1, 16, 33}, {{2, 5, 3}, 1, 1, 4}, {{2, 5, 3}, 2, 0, 1}, {{300, 67}, 1, 3, 66}})
    cases.push_back(make(
        label("slice", to_string(r.shape), r.axis, r.begin, r.end), {randn(r.shape, random)},
        [=](const auto& t) { return slice(t[0], r.axis - static_cast<std::int64_t>(r.shape.size()), r.begin, r.end); },
        [=](const auto& a) { return reference::slice(a[0], r.shape, at(r.axis), r.begin, r.end); }));
  struct Join {
    std::int64_t outer, inner;
    std::vector<std::int64_t> sizes;
  };
  for (const Join& r : std::vector<Join>{{1, 1, {3}}, {2, 3, {4, 0, 1}}, {5, 1, {16, 17}}, {1, 33, {2, 3, 4}}, {130, 1, {70, 61}}}) {
    std::vector<Tensor> x;
    for (std::int64_t n : r.sizes) x.push_back(randn({r.outer, n, r.inner}, random));
    cases.push_back(make(
        label("concat", r.outer, r.inner, r.sizes.size()), x, [](const auto& t) { return concat(t, 1); },
        [=](const auto& a) { return reference::concat(a, r.outer, r.inner); }));
  }
  check_all("shape ops", cases, {1e-7, 1e-6});
}

TEST_CASE("dropout") {
  Random random(15);
  std::vector<Case> cases;
  struct Row {
    std::int64_t n, c;
    float p;
    std::int64_t first_row = 0;
  };
  for (Row r : {Row{0, 3, 0.5f}, {1, 1, 0.5f}, {5, 7, 0.0f}, {5, 7, 0.1f, 3}, {16, 16, 0.5f}, {3, 17, 0.9f, 1000000007}, {131, 67, 0.25f, 5}}) {
    std::vector<double> mask;
    for (std::int64_t i = r.first_row * r.c; i < (r.first_row + r.n) * r.c; ++i) {
      Philox4 draw = philox(42, 3, 9, static_cast<std::uint64_t>(i) / 4);
      mask.push_back(static_cast<double>(draw.v[i % 4]) >= static_cast<double>(r.p) * 0x1p32 ? 1 / (1 - static_cast<double>(r.p)) : 0.0);
    }
    cases.push_back(make(
        label("dropout", r.n, r.c, r.p), {randn({r.n, r.c}, random)},
        [=](const auto& t) {
          return dropout(t[0], r.p, {42, 3, 9, r.first_row});
        },
        [=](auto a) {
          for (std::size_t i = 0; i < mask.size(); ++i) a[0][i] *= mask[i];
          return a[0];
        }));
  }
  check_all("dropout", cases, {1e-6, 1e-6});
}

}  // namespace bam::kernel_test
