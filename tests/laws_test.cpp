// The laws that ops keep: fused = unfused, packed = alone, cut = whole, cached = at once; and how NaN and infinity go through.
#include <array>
#include <atomic>
#include <functional>
#include <new>
#include <numeric>
#include <stdexcept>

#include "reference.hpp"
#include "support.hpp"

namespace bam::laws_test {

using reference::at;
using reference::below;
using reference::error_of;
using reference::everywhere;
using reference::Floats;
using reference::floats;
using reference::same_bits;
using reference::widen;

namespace {

using Op = std::function<Tensor(const std::vector<Tensor>&)>;
// y and the gradient of every leaf for a fixed upstream.
std::vector<Floats> outcome(const std::vector<Tensor>& x, const Op& op) {
  std::vector<Tensor> leaves;
  for (const Tensor& t : x) leaves.push_back(parameter(t.clone()));
  Tape tape;
  Tensor y = op(leaves);
  Random random(77);
  Tensor dy = randn({y.numel()}, random);
  tape.backward(std::span(&y, 1), std::span<const Tensor>(&dy, 1));
  std::vector<Floats> all{floats(y)};
  for (const Tensor& t : leaves) all.push_back(floats(t.grad()));
  return all;
}
double worst_error(const std::vector<Floats>& a, const std::vector<Floats>& b) {
  double worst = 0;
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    REQUIRE(a[i].size() == b[i].size());
    double error = error_of(a[i], std::vector<double>(b[i].begin(), b[i].end()));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}
bool same(const std::vector<Floats>& a, const std::vector<Floats>& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end(), same_bits); }
Tensor rows_of(const Tensor& t, std::int64_t begin, std::int64_t end) {
  Shape shape = t.shape();
  shape[0] = end - begin;
  Tensor r(shape, t.dtype());
  const std::int64_t row = size_of(t.dtype()) * (t.size(0) ? t.numel() / t.size(0) : 0);
  if (r.numel()) std::memcpy(r.raw(), static_cast<const char*>(t.raw()) + begin * row, at((end - begin) * row));
  return r;
}

}  // namespace

TEST_CASE("law: fused equals unfused, forward and backward") {
  Random random(20);
  const std::int64_t n = 19, c = 12;
  Tensor positions = tensor(below(n, 30, random));
  Rope turn{rope_table(30, 6, 10000), positions, true};
  Tensor targets = tensor(below(n, 9, random, 4));
  Segments whole = segments({n});
  AttentionShape plain{2, 2, 3, 0, false, 0};
  Routing routing = route(randn({n, 4}, random), 1, false);
  std::vector<std::int32_t> chosen(routing.chosen.data<std::int32_t>(), routing.chosen.data<std::int32_t>() + n);
  auto of_expert = [&](std::int32_t e) {
    std::vector<std::int64_t> rows;
    for (std::int64_t t = 0; t < n; ++t)
      if (chosen[at(t)] == e) rows.push_back(t);
    return tensor(rows);
  };
  struct Row {
    const char* name;
    std::vector<Tensor> x;
    Op fused, unfused;
    bool bits = false;
  };
  Tensor x = randn({n, c}, random);
  for (const Row& r : std::vector<Row>{
           {"linear_add",
            {randn({n, 5}, random), x, randn({5, c}, random)},
            [](const auto& t) { return linear_add(t[0], t[1], t[2]); },
            [](const auto& t) { return t[0] + linear(t[1], t[2]); }},
           {"linear",
            {x, randn({5, c}, random)},
            [](const auto& t) { return linear(t[0], t[1]); },
            [](const auto& t) { return matmul(t[0], transpose(t[1])); },
            true},
           {"qkv_projection",
            {x, randn({18, c}, random)},
            [&](const auto& t) { return qkv_projection(t[0], t[1], turn, 3); },
            [&](const auto& t) { return rope(linear(t[0], t[1]), turn); },
            true},
           {"qkv_projection, two of three heads",
            {x, randn({18, c}, random)},
            [&](const auto& t) { return qkv_projection(t[0], t[1], turn, 2); },
            [&](const auto& t) {
              Tensor y = linear(t[0], t[1]);
              return concat({rope(slice(y, 1, 0, 12), turn), slice(y, 1, 12, 18)}, 1);
            },
            true},
           {"linear_add of two products",
            {randn({n, 5}, random), x, randn({5, c}, random), randn({n, 7}, random), randn({5, 7}, random)},
            [](const auto& t) { return linear_add(t[0], t[1], t[2], t[3], t[4]); },
            [](const auto& t) { return linear_add(linear_add(t[0], t[1], t[2]), t[3], t[4]); },
            true},
           {"qkv_projection beside another product",
            {x, randn({18, c}, random), randn({4, c}, random)},
            [&](const auto& t) {
              auto [qkv, y] = qkv_projection(t[0], t[1], turn, 2, t[2]);
              return concat({qkv, y}, 1);
            },
            [&](const auto& t) { return concat({qkv_projection(t[0], t[1], turn, 2), linear(t[0], t[2])}, 1); },
            true},
           {"attention that turns the gradients of queries and keys back",
            {x, randn({18, c}, random)},
            [&](const auto& t) { return attention(qkv_projection(t[0], t[1], turn, 2, TurnBack::attention), {}, {1, 1, 6}, whole, turn); },
            [&](const auto& t) { return attention(qkv_projection(t[0], t[1], turn, 2), {}, {1, 1, 6}, whole); },
            true},
           {"swiglu", {x}, [](const auto& t) { return swiglu(t[0]); }, [](const auto& t) { return silu(slice(t[0], 1, 0, 6)) * slice(t[0], 1, 6, 12); }},
           {"softmax",
            {x},
            [](const auto& t) { return softmax(t[0]); },
            [](const auto& t) {
              Tensor e = bam::exp(t[0] - bam::max(t[0], 1, true).detach());
              return e / sum(e, {1}, true);
            }},
           {"log_softmax", {x}, [](const auto& t) { return log_softmax(t[0]); }, [](const auto& t) { return bam::log(softmax(t[0])); }},
           {"layer_norm",
            {x, randn({c}, random)},
            [](const auto& t) { return layer_norm(t[0], t[1]); },
            [](const auto& t) {
              Tensor d = t[0] - mean(t[0], {1}, true);
              return d / bam::sqrt(scale(mean(square(d), {1}, true), 1, 1e-5f)) * t[1];
            }},
           {"rms_norm",
            {x, randn({c}, random)},
            [](const auto& t) { return rms_norm(t[0], t[1]); },
            [](const auto& t) { return t[0] / bam::sqrt(scale(mean(square(t[0]), {1}, true), 1, 1e-5f)) * t[1]; }},
           {"linear_cross_entropy",
            {x, randn({9, c}, random)},
            [&](const auto& t) { return linear_cross_entropy(t[0], t[1], targets, 0.3f); },
            [&](const auto& t) { return cross_entropy_rows(linear(t[0], t[1]), targets, 0.3f); },
            true},
           {"attention",
            {randn({n, 18}, random), randn({n, 2}, random)},
            [&](const auto& t) { return attention(t[0], t[1], plain, whole); },
            [&](const auto& t) {
              auto heads = [&](std::int64_t i) { return permute(slice(t[0], 1, i * 6, i * 6 + 6).reshape({n, 2, 3}), {1, 0, 2}); };
              Tensor p = softmax(scale(matmul(heads(0), heads(1), false, true), 1 / std::sqrt(3.0f)));
              return (permute(matmul(p, heads(2)), {1, 0, 2}) * t[1].reshape({n, 2, 1})).reshape({n, 6});
            }},
           {"mixture_ffn as a loop over experts",
            {x, randn({n, c}, random), randn({n, 4}, random), randn({4, 10, c}, random), randn({4, c, 5}, random)},
            [&](const auto& t) {
              Routing o = routing;
              o.gates = t[2];
              return mixture_ffn(t[0], t[1], o, t[3], t[4]);
            },
            [&](const auto& t) {
              Tensor y = t[0];
              for (std::int32_t e = 0; e < 4; ++e) {
                Tensor index = of_expert(e), gate = slice(take_rows(t[2], index), 1, e, e + 1);
                Tensor act = swiglu(linear(take_rows(t[1], index), slice(t[3], 0, e, e + 1).reshape({10, c})));
                y = y + add_rows(linear(act * gate, slice(t[4], 0, e, e + 1).reshape({c, 5})), index, n);
              }
              return y;
            }}}) {
    CAPTURE(r.name);
    auto a = outcome(r.x, r.fused), b = outcome(r.x, r.unfused);
    CHECK(worst_error(a, b) <= (r.bits ? 0.0 : 2e-6));
  }
}

TEST_CASE("law: packed documents equal each alone, bit for bit") {
  Random random(21);
  const std::vector<std::int64_t> lengths{70, 1, 0, 97, 33};
  const std::int64_t n = 201, d = 5;
  AttentionShape shape{4, 2, d, 0, true, 0};
  Tensor qkv = randn({n, 8 * d}, random), gates = randn({n, 4}, random), dy = randn({n, 4 * d}, random);
  auto run = [&](const Tensor& x, const Tensor& g, const Tensor& up, const std::vector<std::int64_t>& parts) {
    Tensor a = parameter(x.clone()), b = parameter(g.clone());
    Tape tape;
    Tensor y = attention(a, b, shape, segments(parts));
    tape.backward(std::span(&y, 1), std::span(&up, 1));
    return std::array{floats(y), floats(a.grad()), floats(b.grad())};
  };
  auto packed = run(qkv, gates, dy, lengths);
  std::int64_t begin = 0;
  for (std::int64_t l : lengths) {
    auto alone = run(rows_of(qkv, begin, begin + l), rows_of(gates, begin, begin + l), rows_of(dy, begin, begin + l), {l});
    for (std::size_t i = 0; i < 3; ++i) {
      std::int64_t width = std::array{4 * d, 8 * d, std::int64_t{4}}[i];
      CHECK(same_bits(alone[i], Floats(packed[i].begin() + begin * width, packed[i].begin() + (begin + l) * width)));
    }
    begin += l;
  }
}

TEST_CASE("law: gates of 1 equal no gates; E copies under gates that sum to 1 equal one") {
  Random random(22);
  const std::int64_t n = 75, h = 2, d = 9, e = 3, c = 11;
  Segments s = segments({40, 35});
  AttentionShape shape{h, 1, d, 0, true, 0};
  Tensor x = randn({n, c}, random), wq = randn({h * d, c}, random), wk = randn({d, c}, random), wv = randn({d, c}, random), wo = randn({c, h * d}, random);
  Tensor qkv = linear(x, concat({wq, wk, wv}, 0));
  auto without = outcome({qkv}, [&](const auto& t) { return attention(t[0], {}, shape, s); });
  auto with = outcome({qkv}, [&](const auto& t) { return attention(t[0], ones({n, h}), shape, s); });
  CHECK(same(with, without));

  Tensor dense = linear(attention(qkv, {}, shape, s), wo);
  Tensor gates = softmax(randn({n, e}, random));
  Tensor own = linear(x, concat({wq, wq, wq, wk, wk, wk, wv, wv, wv}, 0)), shared = linear(x, concat({wq, wq, wq, wk, wv}, 0));
  Tensor stacked = concat({wo, wo, wo}, 1);
  for (const Tensor& y :
       {linear(attention(own, gates, {e * h, e, d, h, true, 0}, s), stacked), linear(attention(shared, gates, {e * h, 1, d, h, true, 0}, s), stacked)})
    CHECK(worst_error({floats(y)}, {floats(dense)}) <= 1e-6);
}

TEST_CASE("law: attention on a cache equals attention on the whole, bit for bit") {
  Random random(23);
  const std::int64_t n = 137, d = 6, capacity = 300;
  AttentionShape shape{4, 2, d, 0, true, 0};
  Tensor qkv = randn({n, 8 * d}, random), gates = randn({n, 2}, random), full = attention(qkv, gates, shape, segments({n}));
  everywhere([&] {
    KvCache cache{zeros({capacity, 2 * d}), zeros({capacity, 2 * d})};
    std::int64_t done = 0;
    for (std::int64_t part : {65, 1, 1, 31, 1, 38}) {  // a prompt, single tokens, a longer piece; the cache begins at row 100
      std::vector<std::int64_t> at_row(at(part));
      std::iota(at_row.begin(), at_row.end(), 100 + done);
      const Segments one({Segment{0, part, 100, done + part}});
      Tensor y = cached_attention(rows_of(qkv, done, done + part), rows_of(gates, done, done + part), shape, one, cache, tensor(at_row));
      CHECK(same_bits(floats(y), floats(rows_of(full, done, done + part))));
      done += part;
    }
    CHECK(done == n);
  });
}

TEST_CASE("law: sums over tokens go on from one micro-batch to the next, so the cut leaves no trace") {
  Random random(24);
  const std::int64_t n = 53, c = 37;
  Tensor x = randn({n, c}, random), up = randn({n, c}, random), ids = tensor(below(n, 7, random));
  Tensor gates = randn({n, 3}, random), chosen = tensor(below(n, 3, random), {n, 1}), targets = tensor(below(n, c, random, 5));
  struct Row {
    const char* name;
    std::vector<Tensor> w;
    std::function<Tensor(const std::vector<Tensor>&, std::int64_t, std::int64_t)> op;  // rows begin .. end, (rows, C)
  };
  auto part = [&](const Tensor& t, std::int64_t a, std::int64_t b) { return rows_of(t, a, b); };
  for (const Row& r : std::vector<Row>{{"linear", {randn({c, c}, random)}, [&](const auto&w, auto a, auto b) { return linear(part(x, a, b), w[0]); }},
                                       {"layer_norm", {randn({c}, random)}, [&](const auto&w, auto a, auto b) { return layer_norm(part(x, a, b), w[0]); }},
                                       {"rms_norm", {randn({c}, random)}, [&](const auto&w, auto a, auto b) { return rms_norm(part(x, a, b), w[0]); }},
                                       {"embedding", {randn({7, c}, random)}, [&](const auto&w, auto a, auto b) { return embedding(w[0], part(ids, a, b)); }},
                                       {"linear_cross_entropy",
                                        {randn({c, c}, random)},
                                        [&](const auto&w, auto a, auto b) { return linear_cross_entropy(part(x, a, b), w[0], part(targets, a, b)); }},
                                       {"mixture_ffn", {randn({3, 10, c}, random), randn({3, c, 5}, random)}, [&](const auto&w, auto a, auto b) {
                                          Tensor u = part(x, a, b);
                                          return mixture_ffn(zeros(u.shape()), u, {part(gates, a, b), part(chosen, a, b), {}, {}, {}}, w[0], w[1]);
                                        }}}) {
    CAPTURE(r.name);
    auto gradients = [&](const std::vector<std::int64_t>& cuts) {
      std::vector<Tensor> w;
      for (const Tensor& t : r.w) w.push_back(parameter(t.clone()));
      for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
        Tape tape;
        Tensor y = r.op(w, cuts[i], cuts[i + 1]), dy = rows_of(y.rank() == 1 ? up.reshape({n * c}) : up, cuts[i], cuts[i + 1]);
        tape.backward(std::span(&y, 1), std::span<const Tensor>(&dy, 1));
      }
      std::vector<Floats> g;
      for (const Tensor& t : w) g.push_back(floats(t.grad()));
      return g;
    };
    auto whole = gradients({0, n});
    CHECK(same(gradients({0, 16, 16, 17, 50, n}), whole));
  }
}

TEST_CASE("law: cross-entropy in chunks equals cross-entropy at once, bit for bit") {
  Random random(25);
  struct Restored {
    LogitsChunk before = logits_chunk(Device::cpu);
    ~Restored() { logits_chunk(Device::cpu) = before; }
  } restored;
  struct Row {
    std::int64_t n, v;
    LogitsChunk chunk;
    std::int64_t rows;
  };
  for (const Row& r : {Row{71, (1 << 18) + 1, restored.before, 36},  // 71 rows of 1 MiB, of which 63 fit: a chunk of 36 and one of 35
                       {300, 40, {150 * 4 * 40, 128}, 128},         // of tiles: two of 128 and one of 44
                       {300, 40, {100 * 4 * 40, 128}, 100}}) {      // in which no tile fits
    CAPTURE(r.n);
    logits_chunk(Device::cpu) = r.chunk;
    CHECK(r.chunk.rows(r.n, r.v) == r.rows);
    const std::int64_t c = 3;
    std::vector<Tensor> x{randn({r.n, c}, random), randn({r.v, c}, random)};
    auto ids = below(r.n, r.v, random, 5);
    Tensor targets = tensor(ids);
    auto chunked = outcome(x, [&](const auto& t) { return linear_cross_entropy(t[0], t[1], targets); });
    auto whole = outcome(x, [&](const auto& t) { return cross_entropy_rows(linear(t[0], t[1]), targets); });
    CHECK(same_bits(chunked[0], whole[0]));
    CHECK(same_bits(chunked[1], whole[1]));
    CHECK(same_bits(chunked[2], whole[2]));
    // And so, where the gradient of the losses is known beforehand: the one that outcome() gives backward.
    auto known = outcome(x, [&](const auto& t) {
      Random same_as_there(77);
      return linear_cross_entropy(t[0], t[1], targets, 1.0f, randn({r.n}, same_as_there));
    });
    CHECK(same(known, chunked));
    auto exact = reference::cross_entropy(reference::linear(widen<double>(x[0]), widen<double>(x[1]), r.n, c, r.v), ids, r.v, 1);
    CHECK(error_of(chunked[0], exact) <= 1e-6);
  }
}

TEST_CASE("laws of single ops: softmax, norms, dropout, ties") {
  Random random(26);
  everywhere([&] {
    Random fixed(27);
    // values on a grid, so that a shift of the row by 64 is exact and its softmax has the same bits
    Tensor x = randn({9, 37}, fixed);
    for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = std::round(x.data()[i] * 64) / 64 + 0.0f;  // no -0, which scale loses
    Tensor p = softmax(x);
    CHECK(same_bits(floats(p), floats(softmax(scale(x, 1, 64)))));
    for (std::int64_t r = 0; r < 9; ++r) CHECK(std::accumulate(p.data() + r * 37, p.data() + (r + 1) * 37, 0.0) == doctest::Approx(1).epsilon(1e-6));
    CHECK(softmax(scale(x, 1e4f)).values()[0] >= 0);  // no overflow: NaN is not >= 0

    Tensor w = randn({37}, fixed);
    CHECK(worst_error({floats(layer_norm(scale(x, 1, 64), w))}, {floats(layer_norm(x, w))}) <= 1e-5);
    CHECK(same_bits(floats(layer_norm(scale(x, 4), w, 0)), floats(layer_norm(x, w, 0))));
    CHECK(same_bits(floats(rms_norm(scale(x, 4), w, 0)), floats(rms_norm(x, w, 0))));

    const std::int64_t n = 200, c = 101;
    const float rate = 0.2f;
    Tensor y = dropout(ones({n, c}), rate, {3, 1, 4, 10});
    auto kept = static_cast<double>(std::count(y.data(), y.data() + y.numel(), 1 / (1 - rate)));
    CHECK(kept + static_cast<double>(std::count(y.data(), y.data() + y.numel(), 0.0f)) == static_cast<double>(n * c));
    const double total = static_cast<double>(n * c), spread_of = std::sqrt(total * 0.2 * 0.8);
    CHECK(std::abs(kept - 0.8 * total) <= 4 * spread_of);
    CHECK(same_bits(floats(dropout(ones({n - 77, c}), rate, {3, 1, 4, 87})), floats(rows_of(y, 77, n))));  // a micro-batch
    CHECK_FALSE(same_bits(floats(dropout(ones({n, c}), rate, {3, 1, 5, 10})), floats(y)));
    CHECK_FALSE(same_bits(floats(dropout(ones({n, c}), rate, {3, 2, 4, 10})), floats(y)));
    CHECK_FALSE(same_bits(floats(dropout(ones({n, c}), rate, {4, 1, 4, 10})), floats(y)));

    // each of equal maxima gets the whole gradient
    auto ties = outcome({tensor({1, 3, 3, 2, 3})}, [](const auto& t) { return bam::max(t[0]); });
    CHECK(ties[1][1] != 0);
    CHECK(ties[1] == Floats{0, ties[1][1], ties[1][1], 0, ties[1][1]});
  });
}

TEST_CASE("what ops refuse, with place and values") {
  using test::has;
  auto refused = [](auto&& f) { return test::error_of(ErrorKind::usage, f); };
  const Tensor x = zeros({2, 3});
  for (std::int64_t axis : {-3, 2}) {
    const std::string told = " axis " + std::to_string(axis) + " of shape (2, 3)";
    CHECK(refused([&] { slice(x, axis, 0, 1); }) == "axis.range: slice:" + told);
    CHECK(refused([&] { concat({x, x}, axis); }) == "axis.range: concat:" + told);
    CHECK(refused([&] { sum(x, {axis}); }) == "axis.range: sum:" + told);
  }

  CHECK(refused([&] { x.size(-3); }) == "axis.range: tensor: axis -3 of shape (2, 3)");
  CHECK(refused([&] { x.data<double>(); }) == "dtype.access: tensor: (2, 3) holds F32");

  CHECK(refused([&] { matmul(zeros({2, 3, 4, 5}), zeros({3, 2, 5, 4})); }) == "matmul.batch: matmul: batches of (2, 3, 4, 5) and (3, 2, 5, 4)");
  CHECK(refused([&] { matmul(zeros({2, 1, 4, 5}), zeros({2, 5, 4})); }) == "matmul.batch: matmul: batches of (2, 1, 4, 5) and (2, 5, 4)");
  CHECK(matmul(zeros({1, 2, 4, 5}), zeros({2, 5, 4})).shape() == Shape{1, 2, 4, 4});
  CHECK(matmul(zeros({0, 4, 5}), zeros({5, 4})).shape() == Shape{0, 4, 4});
  CHECK(matmul(zeros({1, 4, 5}), zeros({0, 5, 4})).shape() == Shape{0, 4, 4});

  // each query in one segment; each key too, where gradients are wanted
  const AttentionShape shape{4, 2, 2, 0, true, 0};
  const Tensor qkv = zeros({4, 16});
  auto seen = [&](const Tensor& t, const std::vector<Segment>& list, const Tensor& gates = {}) { return refused([&] { attention(t, gates, shape, list); }); };
  const std::string begins = "attention.segment: attention: a segment begins at ", key = "attention.segment: attention: segments end at ";
  CHECK(seen(qkv, {{2, 2, 2, 2}, {0, 0, 0, 0}, {0, 2, 0, 2}}) == "");
  CHECK(seen(qkv, {{0, 2, 0, 2}, {0, 2, 2, 2}}) == begins + "query 0, those before it end at 2");
  CHECK(seen(qkv, {{0, 1, 0, 1}, {3, 1, 3, 1}}) == begins + "query 3, those before it end at 1");
  CHECK(seen(qkv, {{0, 3, 0, 4}}) == key + "query 3 of 4");
  CHECK(seen(qkv, {{0, 2, 0, 2}, {2, 2, 0, 2}}) == "");
  {
    Tape tape;
    const Tensor p = parameter(qkv.clone());
    CHECK(seen(qkv, {{0, 2, 0, 2}, {2, 2, 0, 2}}) == "");
    CHECK(seen(p, {{2, 2, 2, 2}, {0, 2, 0, 2}}) == "");
    CHECK(seen(p, {{0, 2, 0, 2}, {2, 2, 0, 2}}) == begins + "key 0, those before it end at 2");
    CHECK(seen(p, {{0, 2, 0, 4}, {2, 2, 0, 4}}) == begins + "key 0, those before it end at 4");
  }
  CHECK(seen(qkv, {{0, 4, 0, 4}}, zeros({4, 3})) == "attention.gates: attention: gates are (4, 3) for 4 rows and 4 heads");
  CHECK(has(seen(qkv, {{0, 4, 0, 4}}, zeros({4, 0})), "attention.gates"));

  const Tensor at_rows = tensor(std::vector<std::int64_t>{0, 1, 2, 3});
  auto cached = [&](Shape k, Shape v, const Tensor& gates) {
    KvCache cache{zeros(k), zeros(v)};
    return refused([&] { cached_attention(qkv, gates, shape, {{{0, 4, 0, 4}}}, cache, at_rows); });
  };
  CHECK(cached({9, 4}, {9, 4}, zeros({4, 2})) == "");
  for (std::int64_t g : {0, 3, 8}) CHECK(cached({9, 4}, {9, 4}, zeros({4, g})) == "attention.gates: attention: gates are (4, " + std::to_string(g) + ") for 4 rows and 4 heads");
  CHECK(cached({9, 4}, {9, 4}, zeros({3, 2})) == "attention.gates: attention: gates are (3, 2) for 4 rows and 4 heads");
  CHECK(cached({9, 3}, {9, 3}, {}) == "attention.cache: attention: a cache of (9, 3) and (9, 3), wanted rows of 4");
  CHECK(cached({9, 4}, {8, 4}, {}) == "attention.cache: attention: a cache of (9, 4) and (8, 4), wanted rows of 4");

  for (std::int32_t position : {-1, 5}) {
    const Rope turn{rope_table(5, 2, 10000), tensor(std::vector<std::int32_t>{4, 0, position, 1})};
    const std::string told = "rope.position: rope: position " + std::to_string(position) + " at 2 of a table of 5 rows";
    CHECK(refused([&] { rope(qkv, turn); }) == told);
    CHECK(refused([&] { qkv_projection(qkv, zeros({16, 16}), turn, 6); }) == told);
  }
}

TEST_CASE("matmul: the gradient of an operand that an empty batch repeats is 0") {
  for (bool transposed : {false, true}) {
    Tensor a = parameter(zeros({0, 2, 3})), b = parameter(ones(transposed ? Shape{4, 3} : Shape{3, 4}));
    auto all = b.gradient()->target(12).first;
    std::fill(all, all + 12, 7.0f);
    b.gradient()->clear(true);  // keeps its memory, which holds 7
    Tape tape;
    Tensor y = matmul(a, b, false, transposed), dy = zeros({0, 2, 4});
    tape.backward(std::span(&y, 1), std::span<const Tensor>(&dy, 1));
    CHECK(floats(b.grad()) == Floats(12, 0.0f));
  }
}

TEST_CASE("threads: an exception of a body is thrown by parallel, and the pool goes on") {
  for (int workers : {1, 4}) {
    cpu::ThreadPool pool(workers);
    std::atomic<int> ran{0};
    auto run = [&](std::int64_t bad) {
      auto body = [&](std::int64_t i) {
        if (i >= bad) throw std::runtime_error("body");
        ++ran;
      };
      pool.parallel(1000, [](void* f, std::int64_t i, int) { (*static_cast<decltype(body)*>(f))(i); }, &body);
    };
    for (int round = 0; round < 50; ++round) {
      CHECK_THROWS_WITH_AS(run(round), "body", std::runtime_error);
      CHECK(ran.exchange(0) <= round);
      run(1000);
      CHECK(ran.exchange(0) == 1000);
    }
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // whose operator new ends the program
TEST_CASE("threads: scratch that there is no memory for leaves the block that was") {
  cpu::ThreadPool pool(1);
  void* const small = pool.scratch(0, 100);
  CHECK_THROWS_AS(pool.scratch(0, std::size_t{1} << 62), std::bad_alloc);
  CHECK(pool.scratch(0, 100) == small);
  CHECK_THROWS_AS(pool.scratch(0, std::size_t{1} << 62), std::bad_alloc);
}
#endif

TEST_CASE("adamw: a weight decay that is set later counts, on matrices") {
  auto trained = [](double first, double later) {
    std::vector<Tensor> w{parameter(ones({3, 5})), parameter(ones({5}))};
    AdamWOptions o;
    o.weight_decay = first;
    AdamW optimizer(w, o);
    optimizer.options().weight_decay = later;
    for (Tensor& t : w) {
      auto g = t.gradient()->target(t.numel()).first;
      std::fill(g, g + t.numel(), 0.5f);
    }
    optimizer.step();
    return std::pair(floats(w[0]), floats(w[1]));
  };
  const auto with = trained(0.5, 0.5), without = trained(0, 0);
  CHECK(trained(0, 0.5) == with);
  CHECK(trained(0.5, 0) == without);
  CHECK(with.first != without.first);
  CHECK(with.second == without.second);
}

TEST_CASE("NaN and infinity come through; a row that sees nothing is 0") {
  const float nan = std::nanf(""), infinity = INFINITY;
  everywhere([&] {
    CHECK(std::isnan(maximum(tensor({nan}), tensor({1})).item()));
    CHECK(std::isnan(maximum(tensor({1}), tensor({nan})).item()));
    CHECK(std::isnan(minimum(tensor({nan}), tensor({1})).item()));
    CHECK(std::isnan(minimum(tensor({1}), tensor({nan})).item()));
    CHECK(std::isnan(bam::max(tensor({1, nan, 2})).item()));
    CHECK(std::isnan(sum(tensor({1, nan, 2})).item()));
    CHECK(std::isnan(relu(tensor({nan})).item()));
    CHECK(std::isnan(sum(softmax(tensor({1, nan, 2}))).item()));
    CHECK(std::isnan(bam::log(tensor({-1})).item()));
    CHECK(bam::log(tensor({0})).item() == -infinity);
    CHECK(bam::exp(tensor({-infinity})).item() == 0);
    CHECK(bam::exp(tensor({infinity})).item() == infinity);
    CHECK(bam::tanh(tensor({-infinity})).item() == -1);
    CHECK(sigmoid(tensor({-infinity})).item() == 0);
    CHECK(softplus(tensor({1000})).item() == 1000);
    CHECK(gelu(tensor({-50})).item() == 0);
    CHECK(same_bits(floats(softmax(tensor({-infinity, 0, -infinity}))), {0, 1, 0}));
  });
}

}  // namespace bam::laws_test
