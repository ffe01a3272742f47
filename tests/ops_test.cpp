// The contract rows called directly: write modes, distances between rows, null members, what lies beside an output.
#include <array>
#include <numeric>

#include "reference.hpp"

namespace bam::ops_test {

using reference::at;
using reference::below;
using reference::error_of;
using reference::emulated;
using reference::everywhere;
using reference::Floats;
using reference::floats;
using reference::same_bits;

namespace {

Floats draw(std::int64_t n, Random& random, double std = 1) { return floats(randn({n}, random, std)); }
double wide(float x) { return static_cast<double>(x); }

// Wanted contribution to an output; `untouched` elements lie between its rows.
using Wanted = std::vector<double>;
constexpr double untouched = std::numeric_limits<double>::quiet_NaN();

// What lies between lines of n: `few` where whole groups of 8 may stay whole, as kernels may want them.
std::int64_t gap(std::int64_t n, std::int64_t odd, std::int64_t few) { return n % 8 == 0 ? few : odd; }

// launch(y, write), overwriting and adding: right to `bound`, untouched where it must be, equal bits everywhere.
template <class F>
void check_write(const std::string& name, const Wanted& wanted, double bound, F launch, std::vector<Write> modes = {Write::overwrite, Write::add}) {
  CAPTURE(name);
  Random random(99);
  const Floats before = draw(static_cast<std::int64_t>(wanted.size()), random);
  for (Write write : modes) {
    CAPTURE(static_cast<int>(write));
    Floats first;
    everywhere([&] {
      Floats y = before;
      launch(y.data(), write);
      if (first.empty()) first = y;
      CHECK(same_bits(y, first));
    });
    Floats fast;  // bits of their own
    emulated("mma", [&] {
      Floats y = before;
      launch(y.data(), write);
      if (fast.empty()) fast = y;
      CHECK(same_bits(y, fast));
    });
    for (const Floats& y : {first, fast}) {
      std::vector<double> got, expected;
      std::size_t spilled = 0;
      for (std::size_t i = 0; i < y.size(); ++i) {
        if (wanted[i] != wanted[i]) {
          spilled += !same_bits({y[i]}, {before[i]});
          continue;
        }
        got.push_back(wide(y[i]));
        expected.push_back(wanted[i] + (write == Write::add ? wide(before[i]) : 0.0));
      }
      CHECK(spilled == 0);
      CHECK(error_of(got, expected) <= bound);
    }
  }
}
// Rows of `columns` elements at a distance of `stride`.
Wanted spread(const std::vector<double>& x, std::int64_t columns, std::int64_t stride) {
  Wanted y(x.size() / at(columns) * at(stride), untouched);
  for (std::size_t i = 0; i < x.size(); ++i) y[i / at(columns) * at(stride) + i % at(columns)] = x[i];
  return y;
}

}  // namespace

TEST_CASE("gemm: each output is one fma chain over k in order, starting from C when it adds") {
  Random random(1);
  struct Row {
    std::int64_t M, N, K, batch = 1;
  };
  for (Row r :
       {Row{1, 1, 1}, {3, 5, 0},   {4, 16, 7},  {5, 15, 16}, {6, 17, 3},    {11, 31, 17}, {12, 32, 33},   {13, 33, 5}, {24, 64, 2}, {25, 65, 319}, {7, 47, 321},
        {2, 3, 1999}, {193, 7, 5}, {961, 3, 2}, {3, 385, 4}, {97, 129, 64}, {5, 6, 7, 3}, {33, 1, 20, 2}, {0, 4, 4},   {4, 0, 4},   {4, 4, 4, 0}})
    for (bool ta : {false, true})
      for (bool tb : {false, true})
        for (Write write : {Write::overwrite, Write::add}) {
          GemmArgs g;
          g.write = write;
          g.transpose_a = ta;
          g.transpose_b = tb;
          g.batch = r.batch;
          g.M = r.M;
          g.N = r.N;
          g.K = r.K;
          g.lda = (ta ? r.M : r.K) + 3;
          g.ldb = (tb ? r.K : r.N) + gap(r.N, 1, 8);
          g.ldc = r.N + gap(r.N, 5, 16);
          g.batch_a = g.lda * (ta ? r.K : r.M) + 7;
          g.batch_b = r.batch == 2 ? 0 : g.ldb * (tb ? r.N : r.K);  // 0 repeats B
          g.batch_c = g.ldc * r.M + 2;
          Floats a = draw(g.batch_a * r.batch, random), b = draw(g.ldb * (tb ? r.N : r.K) * std::max<std::int64_t>(r.batch, 1), random);
          Floats before = draw(g.batch_c * r.batch + 9, random), wanted = before;
          for (std::int64_t i = 0; i < r.batch * r.M * r.N; ++i) {
            std::int64_t item = i / (r.M * r.N), row = i / r.N % r.M, column = i % r.N;
            float& c = wanted[at(item * g.batch_c + row * g.ldc + column)];
            float sum = write == Write::add ? c : 0.0f;
            for (std::int64_t k = 0; k < r.K; ++k)
              sum = std::fma(a[at(item * g.batch_a + (ta ? k * g.lda + row : row * g.lda + k))],
                             b[at(item * g.batch_b + (tb ? column * g.ldb + k : k * g.ldb + column))], sum);
            c = sum;
          }
          CAPTURE(r.M);
          CAPTURE(r.N);
          CAPTURE(r.K);
          CAPTURE(ta);
          CAPTURE(tb);
          everywhere([&] {
            Floats c = before;
            g.A = a.data();
            g.B = b.data();
            g.C = c.data();
            kernel::gemm(g);
            CHECK(same_bits(c, wanted));
          });
        }
}

TEST_CASE("gemm_pair: the first product, then the second, be it elsewhere or a sum") {
  Random random(3);
  for (bool sum : {false, true})
    for (bool ta : {false, true})
      for (Write write : {Write::overwrite, Write::add}) {
        const std::int64_t M = 13, N = 24, K1 = 17, K2 = 40;
        const Floats a = draw(M * K1, random), b = draw(N * K1, random), c = draw(M * K2, random), d = draw(N * K2, random), before = draw(2 * M * N, random);
        auto args = [&](const Floats& A, const Floats& B, std::int64_t K, Write w) {
          GemmArgs g;
          g.write = w;
          g.transpose_a = ta;
          g.M = M, g.N = g.ldb = g.ldc = N, g.K = K;
          g.lda = ta ? M : K;
          g.A = A.data(), g.B = B.data();
          return g;
        };
        GemmPairArgs pair{args(a, b, K1, write), args(c, d, K2, sum ? Write::add : write)};
        Floats wanted = before;
        auto place = [&](Floats& y) { pair.first.C = y.data(), pair.second.C = y.data() + (sum ? 0 : M * N); };
        place(wanted);
        kernel::gemm(pair.first);
        kernel::gemm(pair.second);
        everywhere([&] {
          Floats y = before;
          place(y);
          kernel::gemm_pair(pair);
          CHECK(same_bits(y, wanted));
        });
      }
}

TEST_CASE("grouped_gemm: a loop of gemms over the rows of each expert") {
  Random random(2);
  struct Row {
    std::vector<std::int64_t> counts;
    std::int64_t M, N, K;
  };
  for (const Row& r :
       std::vector<Row>{{{0}, 3, 4, 5}, {{1}, 1, 1, 1}, {{3, 0, 5}, 4, 7, 6}, {{0, 0, 31}, 13, 17, 16}, {{97, 1, 12, 0}, 15, 33, 19}, {{5, 203}, 97, 50, 3}})
    for (bool weights : {false, true})
      for (bool transpose_b : {false, true})
        for (bool indexed : {false, true})
          for (Write write : {Write::overwrite, Write::add}) {
            if (weights && transpose_b) continue;
            std::vector<std::int64_t> offsets{0};
            for (std::int64_t n : r.counts) offsets.push_back(offsets.back() + n);
            const std::int64_t slots = offsets.back(), source = slots + 2, experts = static_cast<std::int64_t>(r.counts.size());
            std::vector<std::int64_t> a_index, b_index;
            for (std::int64_t i = 0; i < slots; ++i) {
              a_index.push_back(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(source))));
              b_index.push_back(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(source))));
            }
            GroupedGemmArgs g;
            g.write = write;
            g.weights = weights;
            g.transpose_b = transpose_b;
            g.experts = experts;
            g.M = r.M;
            g.N = r.N;
            g.K = r.K;
            g.offsets = offsets.data();
            g.lda = (weights ? r.M : r.K) + 1;
            g.ldb = (transpose_b ? r.K : r.N) + 2;
            g.ldc = r.N + 3;
            g.expert_stride = weights ? r.M * g.ldc + 4 : (transpose_b ? r.N : r.K) * g.ldb + 4;
            if (indexed) g.a_index = a_index.data();
            if (indexed && weights) g.b_index = b_index.data();
            Floats a = draw(source * g.lda, random), b = draw(weights ? source * g.ldb : experts * g.expert_stride, random);
            Floats before = draw(weights ? experts * g.expert_stride : slots * g.ldc + 1, random), wanted = before;
            auto row_of = [&](const std::vector<std::int64_t>& index, std::int64_t s) { return indexed ? index[at(s)] : s; };
            for (std::int64_t e = 0; e < experts; ++e) {
              auto chain = [&](float& c, std::int64_t n, auto factors) {
                float sum = write == Write::add ? c : 0.0f;
                for (std::int64_t k = 0; k < n; ++k) {
                  auto [x, y] = factors(k);
                  sum = std::fma(x, y, sum);
                }
                c = sum;
              };
              const std::int64_t begin = offsets[at(e)], end = offsets[at(e + 1)];
              if (weights) {
                for (std::int64_t i = 0; i < r.M; ++i)
                  for (std::int64_t j = 0; j < r.N; ++j)
                    chain(wanted[at(e * g.expert_stride + i * g.ldc + j)], end - begin, [&](std::int64_t k) {
                      return std::pair{a[at(row_of(a_index, begin + k) * g.lda + i)], b[at(row_of(b_index, begin + k) * g.ldb + j)]};
                    });
              } else {
                for (std::int64_t s = begin; s < end; ++s)
                  for (std::int64_t j = 0; j < r.N; ++j)
                    chain(wanted[at(s * g.ldc + j)], r.K, [&](std::int64_t k) {
                      return std::pair{a[at(row_of(a_index, s) * g.lda + k)], b[at(e * g.expert_stride + (transpose_b ? j * g.ldb + k : k * g.ldb + j))]};
                    });
              }
            }
            CAPTURE(to_string(r.counts));
            CAPTURE(weights);
            CAPTURE(transpose_b);
            CAPTURE(indexed);
            everywhere([&] {
              Floats c = before;
              g.A = a.data();
              g.B = b.data();
              g.C = c.data();
              kernel::grouped_gemm(g);
              CHECK(same_bits(c, wanted));
            });
          }
}

TEST_CASE("norm_backward: dx and dw each overwritten, added or left out") {
  Random random(3);
  for (auto row : {std::array<std::int64_t, 2>{0, 17}, {1, 16}, {37, 33}}) {
    const std::int64_t n = row[0], c = row[1];
    for (bool rms : {false, true}) {
      Floats x = draw(n * c, random), w = draw(c, random), dy = draw(n * c, random), y(at(n * c)), mean(at(n)), rstd(at(n));
      NormArgs f;
      f.rms = rms;
      f.rows = n;
      f.columns = c;
      f.x = x.data();
      f.w = w.data();
      f.y = y.data();
      f.mean = mean.data();
      f.rstd = rstd.data();
      kernel::norm_forward(f);
      f.dy = dy.data();
      Wanted dx(at(n * c)), dw(at(c));
      for (std::int64_t r = 0; r < n; ++r) {
        double m = rms ? 0 : wide(mean[at(r)]), k = wide(rstd[at(r)]), g_mean = 0, gh_mean = 0;
        auto h = [&](std::int64_t i) { return (wide(x[at(r * c + i)]) - m) * k; };
        auto g = [&](std::int64_t i) { return wide(dy[at(r * c + i)]) * wide(w[at(i)]); };
        for (std::int64_t i = 0; i < c; ++i) {
          g_mean += rms ? 0 : g(i) / static_cast<double>(c);
          gh_mean += g(i) * h(i) / static_cast<double>(c);
          dw[at(i)] += wide(dy[at(r * c + i)]) * h(i);
        }
        for (std::int64_t i = 0; i < c; ++i) dx[at(r * c + i)] = k * (g(i) - g_mean - h(i) * gh_mean);
      }
      auto run = [&](float* to_x, float* to_w, Write write_x, Write write_w) {
        NormArgs b = f;
        b.dx = to_x;
        b.dw = to_w;
        b.write_dx = write_x;
        b.write_dw = write_w;
        kernel::norm_backward(b);
      };
      check_write("dx alone", dx, 1e-6, [&](float* p, Write write) { run(p, nullptr, write, Write::add); });
      check_write("dw alone", dw, 1e-6, [&](float* p, Write write) { run(nullptr, p, Write::add, write); });
      Floats other(at(n * c + c));
      check_write("dx, dw added", dx, 1e-6, [&](float* p, Write write) { run(p, other.data(), write, Write::add); });
      check_write("dw, dx overwritten", dw, 1e-6, [&](float* p, Write write) { run(other.data(), p, Write::overwrite, write); });
    }
  }
}

TEST_CASE("rope: distances between rows, in place, and back") {
  Random random(4);
  const std::int64_t n = 9, heads = 2;
  for (std::int64_t d : {2, 14, 16, 18, 34, 48, 50})
    for (bool half : {false, true}) {
      const std::int64_t stride = gap(d, 101, 104);
      Tensor table = rope_table(40, d, 500);
      std::vector<std::int32_t> positions = below(n, 40, random);
      Floats x = draw(n * stride, random);
      std::vector<double> rows;
      for (std::int64_t r = 0; r < n; ++r)
        for (std::int64_t i = 0; i < heads * d; ++i) rows.push_back(wide(x[at(r * stride + i)]));
      RopeArgs a;
      a.rotate_half = half;
      a.rows = n;
      a.heads = heads;
      a.head_dim = d;
      a.positions = positions.data();
      a.table = table.data();
      a.x_row = stride;
      a.y_row = stride + gap(d, 3, 8);
      a.x = x.data();
      Wanted turned = spread(reference::rope(rows, positions, heads * d, heads, d, 500, half), heads * d, a.y_row);
      check_write("apart", turned, 1e-6, [&](float* y, Write) { a.y = y, kernel::rope(a); }, {Write::overwrite});
      a.x = a.y = nullptr;
      check_write("in place, there and back", spread(rows, heads * d, stride), 1e-6,
                  [&](float* y, Write) {
                    for (std::int64_t r = 0; r < n; ++r) std::memcpy(y + r * stride, x.data() + r * stride, static_cast<std::size_t>(heads * d) * 4);
                    RopeArgs b = a;
                    b.x = b.y = y;
                    b.x_row = b.y_row = stride;
                    kernel::rope(b);
                    b.inverse = true;
                    kernel::rope(b);
                  },
                  {Write::overwrite});
    }
}

TEST_CASE("swiglu: scale per row, both write modes, distances, dx or dscale alone") {
  Random random(5);
  for (auto row : {std::array<std::int64_t, 2>{0, 3}, {1, 1}, {5, 15}, {4, 16}, {3, 35}, {3, 264}}) {
    const std::int64_t n = row[0], f = row[1];
    const std::int64_t x_row = 2 * f + gap(f, 3, 8), y_row = f + gap(f, 2, 16);
    Floats x = draw(n * x_row, random, 2), s = draw(n, random), dy = draw(n * y_row, random);
    Wanted y, dx, dscale;
    for (std::int64_t r = 0; r < n; ++r) {
      double total = 0;
      std::vector<double> gates, ups;
      for (std::int64_t i = 0; i < f; ++i) {
        double gate = wide(x[at(r * x_row + i)]), up = wide(x[at(r * x_row + f + i)]), d = wide(dy[at(r * y_row + i)]), k = wide(s[at(r)]),
               sigma = reference::sigmoid(gate);
        y.push_back(k * gate * sigma * up);
        total += d * gate * sigma * up;
        gates.push_back(d * k * up * sigma * (1 + gate * (1 - sigma)));
        ups.push_back(d * k * gate * sigma);
      }
      dx.insert(dx.end(), gates.begin(), gates.end());
      dx.insert(dx.end(), ups.begin(), ups.end());
      dscale.push_back(total);
    }
    SwigluArgs a;
    a.rows = n;
    a.columns = f;
    a.x = x.data();
    a.x_row = x_row;
    a.y_row = y_row;
    a.scale = s.data();
    auto with = [&](auto set) {
      SwigluArgs b = a;
      set(b);
      return b;
    };
    check_write("forward", spread(y, f, y_row), 1e-6, [&](float* p, Write write) { kernel::swiglu_forward(with([&](auto& b) { b.y = p, b.write = write; })); });
    a.dy = dy.data();
    a.dy_row = y_row;
    a.dx_row = x_row + gap(f, 1, 8);
    Floats other(at(n));
    check_write("dx", spread(dx, 2 * f, a.dx_row), 1e-6,
                [&](float* p, Write write) { kernel::swiglu_backward(with([&](auto& b) { b.dx = p, b.write = write; })); });
    check_write("dx beside dscale", spread(dx, 2 * f, a.dx_row), 1e-6,
                [&](float* p, Write write) { kernel::swiglu_backward(with([&](auto& b) { b.dx = p, b.write = write, b.dscale = other.data(); })); });
    check_write("dscale alone", dscale, 2e-6, [&](float* p, Write) { kernel::swiglu_backward(with([&](auto& b) { b.dscale = p; })); }, {Write::overwrite});
    check_write("dx, where dy is its second half", spread(dx, 2 * f, a.dx_row), 1e-6,
                [&](float* p, Write) {
                  for (std::int64_t r = 0; r < n; ++r) std::memcpy(p + r * a.dx_row + f, dy.data() + r * y_row, static_cast<std::size_t>(f) * 4);
                  kernel::swiglu_backward(with([&](auto& b) { b.dx = p, b.dy = p + f, b.dy_row = b.dx_row; }));
                },
                {Write::overwrite});
  }
}

TEST_CASE("grouped_gemm and the SwiGLU that follows, forward and backward, are the two rows") {
  Random random(15);
  struct Row {
    std::vector<std::int64_t> counts;
    std::int64_t f, c;
  };
  for (const Row& r : std::vector<Row>{{{0}, 3, 4}, {{1}, 1, 1}, {{3, 0, 5}, 7, 6}, {{0, 37, 1}, 24, 16}, {{2, 4}, 0, 5}})
    for (bool scaled : {false, true}) {
      CAPTURE(to_string(r.counts));
      CAPTURE(r.f);
      CAPTURE(scaled);
      std::vector<std::int64_t> offsets{0};
      for (std::int64_t n : r.counts) offsets.push_back(offsets.back() + n);
      const std::int64_t rows = offsets.back(), f = r.f, c = r.c, experts = std::ssize(r.counts), x_row = 2 * f + gap(f, 3, 8), y_row = f + gap(f, 2, 16);
      const Floats u = draw(rows * c, random), dy = draw(rows * c, random), w_in = draw(experts * 2 * f * c, random), w_out = draw(experts * c * f, random), scale = draw(rows, random);
      struct Outputs {
        Floats x, y, dx, dscale;
      };
      auto compute = [&](bool together) {
        Outputs o{Floats(at(rows * x_row + 1), 7.0f), Floats(at(rows * y_row + 1), 7.0f), Floats(at(rows * x_row + 1), 7.0f), Floats(at(rows + 1), 7.0f)};
        GroupedGemmArgs up;
        up.transpose_b = true;
        up.experts = experts, up.N = 2 * f, up.K = c;
        up.offsets = offsets.data();
        up.A = u.data(), up.lda = c;
        up.B = w_in.data(), up.ldb = c, up.expert_stride = 2 * f * c;
        up.C = o.x.data(), up.ldc = x_row;
        SwigluArgs s;
        s.rows = rows, s.columns = f;
        s.x = o.x.data(), s.x_row = s.dx_row = x_row;
        if (scaled) s.scale = scale.data();
        s.y = o.y.data(), s.y_row = y_row;
        if (together) up.swiglu = s;
        kernel::grouped_gemm(up);
        if (!together) kernel::swiglu_forward(s);
        GroupedGemmArgs down = up;
        down.transpose_b = false;
        down.N = f;
        down.A = dy.data();
        down.B = w_out.data(), down.ldb = f, down.expert_stride = c * f;
        Floats apart(at(rows * f));
        down.C = together ? o.dx.data() + f : apart.data(), down.ldc = together ? x_row : f;
        s.y = nullptr;
        s.dx = o.dx.data();
        s.dy = down.C, s.dy_row = down.ldc;
        if (scaled) s.dscale = o.dscale.data();
        down.swiglu = together ? s : SwigluArgs{};
        kernel::grouped_gemm(down);
        if (!together) kernel::swiglu_backward(s);
        return o;
      };
      auto check_both = [&] {
        const Outputs one = compute(true), two = compute(false);
        CHECK(same_bits(one.x, two.x));
        CHECK(same_bits(one.y, two.y));
        CHECK(same_bits(one.dx, two.dx));
        CHECK(same_bits(one.dscale, two.dscale));
      };
      everywhere(check_both);
      emulated("mma", check_both);
    }
}

TEST_CASE("route_plan is the stable order by expert, then token; route_gradient its mirror") {
  Random random(6);
  for (auto row : {std::array<std::int64_t, 3>{0, 3, 2}, {1, 1, 1}, {7, 5, 3}, {1500, 6, 2}, {521, 70, 1}}) {
    const std::int64_t n = row[0], e = row[1], k = row[2];
    std::vector<std::int32_t> chosen;
    for (std::int64_t t = 0; t < n; ++t) {
      std::vector<std::int32_t> order(at(e));
      std::iota(order.begin(), order.end(), 0);
      if (e > 2) order.erase(order.begin() + 1);  // expert 1 gets no token
      for (std::int64_t j = 0; j < k; ++j) {
        auto pick = random.below(order.size());
        chosen.push_back(order[pick]);
        order.erase(order.begin() + static_cast<std::ptrdiff_t>(pick));
      }
    }
    Floats gates = draw(n * e, random), slot_gate(at(n * k)), dscale = draw(n * k, random);
    std::vector<std::int64_t> offsets(at(e + 1)), slot_token(at(n * k)), token_slot(at(n * k));
    RoutePlanArgs plan{n, e, k, chosen.data(), gates.data(), offsets.data(), slot_token.data(), token_slot.data(), slot_gate.data()};
    Wanted dgates(at(n * e));
    everywhere([&] {
      std::fill(offsets.begin(), offsets.end(), -1);
      std::fill(slot_token.begin(), slot_token.end(), -1);
      std::fill(token_slot.begin(), token_slot.end(), -1);
      kernel::route_plan(plan);
      std::int64_t slot = 0;
      std::fill(dgates.begin(), dgates.end(), 0.0);
      bool same = true;
      for (std::int32_t i = 0; i < e; ++i) {
        CHECK(offsets[at(i)] == slot);
        for (std::int64_t t = 0; t < n; ++t)
          for (std::int64_t j = 0; j < k; ++j) {
            if (chosen[at(t * k + j)] != i) continue;
            same = same && slot_token[at(slot)] == t && slot_gate[at(slot)] == gates[at(t * e + i)] && token_slot[at(t * k + j)] == slot;
            dgates[at(t * e + i)] += wide(dscale[at(slot++)]);
          }
      }
      CHECK(same);
      CHECK(offsets[at(e)] == slot);
    });
    check_write("route_gradient", dgates, 1e-7, [&](float* p, Write write) {
      RouteGradientArgs a{write, n, e, k, chosen.data(), token_slot.data(), dscale.data(), p};
      kernel::route_gradient(a);
    });
  }
}

TEST_CASE("gather and scatter: terms, missing rows, distances, both index types") {
  Random random(7);
  for (auto row : {std::array<std::int64_t, 3>{0, 1, 3}, {1, 1, 1}, {5, 3, 15}, {7, 2, 16}, {9, 1, 37}, {6, 2, 24}, {211, 2, 131}, {1500, 1, 3}}) {
    const std::int64_t n = row[0], terms = row[1], c = row[2];
    const std::int64_t source = n > 1000 ? 5000 : 11, x_row = c + gap(c, 3, 8), y_row = c + gap(c, 1, 16);
    Floats x = draw(std::max(source, n * terms) * x_row, random);
    auto narrow = below(n * terms, source, random, 4);
    std::vector<std::int64_t> index(narrow.begin(), narrow.end());
    std::vector<double> gathered(at(n * c)), scattered(at(source * c));
    for (std::int64_t i = 0; i < n * terms; ++i)
      for (std::int64_t j = 0; index[at(i)] >= 0 && j < c; ++j) {
        gathered[at(i / terms * c + j)] += wide(x[at(index[at(i)] * x_row + j)]);
        scattered[at(index[at(i)] * c + j)] += wide(x[at(i * x_row + j)]);
      }
    for (bool index32 : {false, true}) {
      check_write("gather", spread(gathered, c, y_row), 1e-6, [&](float* y, Write write) {
        GatherArgs a;
        a.write = write;
        a.rows = n;
        a.columns = c;
        a.terms = terms;
        a.x = x.data();
        a.x_row = x_row;
        (index32 ? (void)(a.index32 = narrow.data()) : (void)(a.index = index.data()));
        a.y = y;
        a.y_row = y_row;
        kernel::gather(a);
      });
      check_write("scatter", spread(scattered, c, y_row), 1e-6, [&](float* y, Write write) {
        ScatterArgs a;
        a.write = write;
        a.rows = n * terms;
        a.columns = c;
        a.targets = source;
        a.x = x.data();
        a.x_row = x_row;
        (index32 ? (void)(a.index32 = narrow.data()) : (void)(a.index = index.data()));
        a.y = y;
        a.y_row = y_row;
        kernel::scatter(a);
      });
    }
  }
}

TEST_CASE("cross_entropy_backward: distances, added, and in place of the logits") {
  Random random(8);
  for (auto row : {std::array<std::int64_t, 2>{0, 3}, {1, 1}, {5, 16}, {4, 33}, {3, 264}, {65, 513}}) {
    const std::int64_t n = row[0], v = row[1];
    const std::int64_t x_row = v + gap(v, 3, 8), dx_row = v + gap(v, 1, 16);
    const float scale = 0.5f;
    Floats x = draw(n * x_row, random, 2), dnll = draw(n, random), lse(at(n)), nll(at(n));
    auto target = below(n, v, random, 3);
    std::vector<double> dx;
    for (std::int64_t r = 0; r < n; ++r) {
      std::vector<double> p;
      for (std::int64_t i = 0; i < v; ++i) p.push_back(wide(x[at(r * x_row + i)]) * wide(scale));
      reference::softmax(p.data(), p.data(), v);
      for (std::int64_t i = 0; i < v; ++i) dx.push_back(target[at(r)] < 0 ? 0 : (p[at(i)] - (i == target[at(r)])) * wide(scale) * wide(dnll[at(r)]));
    }
    CrossEntropyArgs a;
    a.rows = n;
    a.columns = v;
    a.scale = scale;
    a.x = x.data();
    a.x_row = x_row;
    a.target = target.data();
    a.nll = nll.data();
    a.lse = lse.data();
    kernel::cross_entropy_forward(a);
    a.dnll = dnll.data();
    a.dx_row = dx_row;
    check_write("dx", spread(dx, v, dx_row), 4e-6, [&](float* p, Write write) { a.dx = p, a.write = write, kernel::cross_entropy_backward(a); });
    Floats fresh = x;
    everywhere([&] {
      Floats in_place = x, apart = x;
      CrossEntropyArgs b = a;
      b.write = Write::overwrite;
      b.dx_row = x_row;
      b.dx = apart.data();
      kernel::cross_entropy_backward(b);
      b.x = b.dx = in_place.data();
      kernel::cross_entropy_backward(b);
      CHECK(same_bits(in_place, apart));
    });
  }
}

TEST_CASE("unary, binary, copy, reduce, dropout: scale, shift, strides and both write modes") {
  Random random(9);
  for (std::int64_t n : {0, 1, 15, 17, 20011}) {
    Floats x = draw(n, random), b = draw(n, random);
    Wanted y, dx, difference;
    for (std::int64_t i = 0; i < n; ++i) {
      double t = std::tanh(wide(x[at(i)]));
      y.push_back(2.5 * t - 1);
      dx.push_back(wide(b[at(i)]) * 2.5 * (1 - t * t));
      difference.push_back(-0.5 * (wide(x[at(i)]) - wide(b[at(i)])));
    }
    UnaryArgs u;
    u.op = Unary::tanh;
    u.scale = 2.5f;
    u.shift = -1;
    u.n = n;
    u.x = x.data();
    check_write("unary_forward", y, 1e-6, [&](float* p, Write) { u.y = p, kernel::unary_forward(u); }, {Write::overwrite});
    u.dy = b.data();
    check_write("unary_backward", dx, 1e-6, [&](float* p, Write write) { u.dx = p, u.write = write, kernel::unary_backward(u); });
    BinaryArgs s;
    s.op = Binary::sub;
    s.scale = -0.5f;
    s.rank = 1;
    s.shape[0] = n;
    s.a_stride[0] = s.b_stride[0] = 1;
    s.a = x.data();
    s.b = b.data();
    check_write("binary", difference, 1e-6, [&](float* p, Write write) { s.y = p, s.write = write, kernel::binary(s); });
  }

  // x (3, 5, 7), read as (5, 3, 7) and written with gaps; then added up over its first axis by a stride of 0
  Floats x = draw(105, random);
  CopyArgs c;
  c.rank = 3;
  for (auto [i, shape, from, to] : {std::array<int, 4>{0, 5, 7, 40}, {1, 3, 35, 11}, {2, 7, 1, 1}})
    c.shape[i] = shape, c.x_stride[i] = from, c.y_stride[i] = to;
  c.x = x.data();
  Wanted moved(200, untouched), summed(35);
  for (std::size_t i = 0; i < 105; ++i) {
    moved[i / 7 % 5 * 40 + i / 35 * 11 + i % 7] = wide(x[i]);
    summed[i % 35] += wide(x[i]);
  }
  check_write("copy", moved, 1e-7, [&](float* p, Write write) { c.y = p, c.write = write, kernel::copy(c); });
  for (std::int64_t n : {15, 16, 100}) {
    CopyArgs dense;
    dense.rank = 2;
    dense.shape[0] = 1, dense.shape[1] = n;
    dense.x_stride[0] = dense.y_stride[0] = 7, dense.x_stride[1] = dense.y_stride[1] = 1;
    dense.x = x.data();
    Wanted copied;
    for (std::int64_t i = 0; i < n; ++i) copied.push_back(wide(x[at(i)]));
    check_write("dense copy", copied, 1e-7, [&](float* p, Write write) { dense.y = p, dense.write = write, kernel::copy(dense); });
  }
  CopyArgs sums = c;
  for (auto [i, shape, from, to] : {std::array<int, 4>{0, 3, 35, 0}, {1, 5, 7, 7}, {2, 7, 1, 1}})
    sums.shape[i] = shape, sums.x_stride[i] = from, sums.y_stride[i] = to;
  check_write("copy onto stride 0", summed, 1e-6, [&](float* p, Write write) { sums.y = p, sums.write = write, kernel::copy(sums); }, {Write::add});

  for (auto row : {std::array<std::int64_t, 3>{1, 1, 1}, {3, 17, 1}, {2, 1009, 1}, {3, 5, 7}, {1, 33, 300}, {2, 131, 257}, {2, 0, 3}, {4, 0, 1}}) {
    const std::int64_t outer = row[0], n = row[1], inner = row[2];
    for (Reduce op : {Reduce::sum, Reduce::max}) {
      if (n == 0 && op == Reduce::max) continue;
      Floats v = floats(bam::rand({outer * n * inner}, random, -1, 2));
      Wanted y(at(outer * inner), op == Reduce::sum ? 0.0 : -INFINITY);
      for (std::size_t i = 0; i < v.size(); ++i) {
        double& to = y[i / at(n * inner) * at(inner) + i % at(inner)];
        to = op == Reduce::sum ? to + wide(v[i]) : std::max(to, wide(v[i]));
      }
      for (double& t : y) t *= -1.5;
      ReduceArgs r;
      r.op = op;
      r.scale = -1.5f;
      r.outer = outer;
      r.n = n;
      r.inner = inner;
      r.x = v.data();
      check_write("reduce", y, 2e-6, [&](float* p, Write write) { r.y = p, r.write = write, kernel::reduce(r); });
    }
  }

  DropoutArgs d;
  d.p = 0.3f;
  d.seed = 5;
  d.first_row = 2;
  d.rows = 13;
  d.columns = 11;
  Floats v = draw(143, random);
  d.x = v.data();
  Wanted kept;
  for (std::size_t i = 0; i < 143; ++i) {
    std::uint64_t index = 22 + i;
    kept.push_back(static_cast<double>(philox(5, 0, 0, index / 4).v[index % 4]) >= wide(d.p) * 0x1p32 ? wide(v[i]) / (1 - wide(d.p)) : 0.0);
  }
  check_write("dropout", kept, 1e-6, [&](float* p, Write write) { d.y = p, d.write = write, kernel::dropout(d); });
}

TEST_CASE("fill and copy of every element type") {
  everywhere([] {
    CHECK(full({37}, 1.5).values()[36] == 1.5f);
    CHECK(full({37}, 1e300, DType::f64).values<double>()[36] == 1e300);
    CHECK(full({37}, -7, DType::i32).values<std::int32_t>()[36] == -7);
    CHECK(full({37}, 1e15, DType::i64).values<std::int64_t>()[36] == 1000000000000000);
    CHECK(full({37}, 200, DType::u8).values<std::uint8_t>()[36] == 200);
    CHECK(full({37}, 1.00390625, DType::bf16).values<std::uint16_t>()[36] == 0x3f80);  // a tie goes to even
    CHECK(full({37}, 1.01171875, DType::bf16).values<std::uint16_t>()[36] == 0x3f82);
    CHECK(full({0}, 1).numel() == 0);
    auto turned = [](auto unit) {
      using T = decltype(unit);
      std::vector<T> v(35);
      std::iota(v.begin(), v.end(), unit);
      Tensor t = permute(tensor(v, {5, 7}), {1, 0});
      for (std::size_t i = 0; i < 35; ++i) CHECK(t.data<T>()[i] == v[i % 5 * 7 + i / 5]);
      Tensor joined = concat({slice(tensor(v, {5, 7}), 1, 0, 3), slice(tensor(v, {5, 7}), 1, 3, 7)}, 1);
      CHECK(std::equal(v.begin(), v.end(), joined.data<T>()));
      for (std::int64_t n : {16, 35}) {  // dense, in whole groups of 16 bytes or not
        const Tensor one = slice(tensor(v), 0, 0, n), both = concat({one, one}, 0);
        for (std::int64_t i = 0; i < 2 * n; ++i) CHECK(both.data<T>()[i] == v[at(i % n)]);
      }
    };
    turned(std::uint8_t{1});
    turned(std::int32_t{1});
    turned(std::int64_t{1});
    turned(1.0);
    turned(1LL);  // no std::int64_t, which is a long, but as wide
    CHECK(tensor(std::vector<long long>{1, -2}).dtype() == DType::i64);
    CHECK(tensor(std::vector<Bf16>{to_bf16(1.5f), to_bf16(-2)}).rounded(DType::f32).values()[1] == -2);
  });
}

TEST_CASE("adamw: three steps on a strided view, and the sum of squares") {
  Random random(10);
  struct Row {
    std::int64_t rows, columns, stride;
    float decay;
    bool bf16 = false;  // moments
  };
  for (Row r : {Row{0, 4, 4, 0}, {1, 1, 1, 0.1f}, {3, 15, 20, 0.1f}, {5, 17, 17, 0.0f}, {4, 1, 3, 0.5f}, {131, 257, 260, 0.1f}, {1, 1, 1, 0.1f, true}, {3, 15, 20, 0.1f, true}, {131, 257, 260, 0.1f, true}}) {
    const std::int64_t n = r.rows * r.stride;
    Floats p0 = draw(n, random), g = draw(3 * n, random), m0(at(n)), v0(at(n));
    const double lr = wide(1e-2f), beta1 = wide(0.9f), beta2 = wide(0.95f), eps = wide(1e-6f);
    Floats first;
    everywhere([&] {
      Floats p = p0, m = m0, v = v0;
      std::vector<Bf16> m16(at(n)), v16(at(n));
      for (int t = 1; t <= 3; ++t) {
        const std::vector<AdamWScalars> scalars{{1e-2f, static_cast<float>(1 - std::pow(beta1, t)), static_cast<float>(1 - std::pow(beta2, t)), 0.25f}};
        AdamWArgs a;
        a.eps = 1e-6f;
        a.scalars = scalars.data();
        a.moments = r.bf16 ? DType::bf16 : DType::f32;
        a.parts = 1;
        a.part[0] = {r.rows, r.columns, r.stride, r.decay, p.data(), g.data() + (t - 1) * n, m.data(), v.data()};
        if (r.bf16) a.part[0].m = m16.data(), a.part[0].v = v16.data();
        kernel::adamw(a);
      }
      for (std::size_t i = 0; r.bf16 && i < at(n); ++i) m[i] = to_float(m16[i]), v[i] = to_float(v16[i]);
      Floats all = p;
      all.insert(all.end(), m.begin(), m.end());
      all.insert(all.end(), v.begin(), v.end());
      if (first.empty()) first = all;
      CHECK(same_bits(all, first));
    });
    std::vector<double> got[3], wanted[3];
    std::size_t spilled = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      if (i % r.stride >= r.columns) {
        spilled += !same_bits({first[at(i)]}, {p0[at(i)]});
        continue;
      }
      reference::AdamWState s{wide(p0[at(i)]), 0, 0};
      for (int t = 1; t <= 3; ++t) s = reference::adamw(s, 0.25 * wide(g[at((t - 1) * n + i)]), lr, beta1, beta2, eps, wide(r.decay), t);
      for (std::size_t k = 0; k < 3; ++k) got[k].push_back(wide(first[k * at(n) + at(i)]));
      for (std::size_t k = 0; k < 3; ++k) wanted[k].push_back(std::array{s.p, s.m, s.v}[k]);
    }
    CHECK(spilled == 0);
    // three roundings to 8 bits of each moment
    for (int k = 0; k < 3; ++k) CHECK(error_of(got[k], wanted[k]) <= (r.bf16 ? (k == 0 ? 1e-4 : 1e-2) : 1e-6));
  }
  for (std::int64_t n : {0, 1, 17, 65536, 65537, 200003}) {
    Floats x = draw(n, random);
    long double exact = 0;
    for (float v : x) exact += static_cast<long double>(v) * static_cast<long double>(v);
    std::vector<double> first;
    everywhere([&] {
      std::vector<double> partial(at(SumSquaresArgs::blocks_of(n)));
      SumSquaresArgs a;
      a.parts = 1;
      a.part[0] = {n, x.data()};
      a.partial = partial.data();
      kernel::sum_squares(a);
      if (first.empty()) first = partial;
      CHECK(partial == first);
    });
    CHECK(std::accumulate(first.begin(), first.end(), 0.0) == doctest::Approx(static_cast<double>(exact)).epsilon(1e-14));
  }
}

TEST_CASE("adamw and the sum of squares: many parameters in one call are each alone, whatever their shapes") {
  Random random(12);
  struct Shape {
    std::int64_t rows, columns, stride;
    std::int64_t n() const { return rows * stride; }
  };
  std::vector<Shape> shapes{{1, 70000, 70000}, {0, 4, 4}, {3, 15, 20}, {1, 1, 1}, {131, 257, 260}, {1, 512, 512}, {1, 513, 513}, {4, 1, 3}};
  while (shapes.size() < AdamWArgs::most_parts) shapes.push_back({1, static_cast<std::int64_t>(shapes.size()), static_cast<std::int64_t>(shapes.size())});
  std::int64_t n = 0, blocks = 0;
  for (const Shape& s : shapes) n += s.n(), blocks += SumSquaresArgs::blocks_of(s.n());
  const Floats p0 = draw(n, random), g = draw(n, random);
  const std::vector<AdamWScalars> scalars{{1e-2f, 0.1f, 0.05f, 0.5f}};
  everywhere([&] {
    auto run = [&](bool together) {
      Floats p = p0, m(at(n)), v(at(n));
      std::vector<double> partial(at(blocks), -1);
      AdamWArgs a;
      SumSquaresArgs s;
      a.scalars = scalars.data();
      s.partial = partial.data();
      auto flush = [&] {
        kernel::adamw(a);
        kernel::sum_squares(s);
        for (int i = 0; i < s.parts; ++i) s.partial += SumSquaresArgs::blocks_of(s.part[i].n);
        a.parts = s.parts = 0;
      };
      std::int64_t begin = 0;
      for (std::size_t i = 0; i < shapes.size(); ++i) {
        const Shape& x = shapes[i];
        a.part[a.parts++] = {x.rows, x.columns, x.stride, i % 2 ? 0.1f : 0.0f, p.data() + begin, g.data() + begin, m.data() + begin, v.data() + begin};
        s.part[s.parts++] = {x.n(), g.data() + begin};
        begin += x.n();
        if (!together || i + 1 == shapes.size()) flush();
      }
      for (const Floats& more : {m, v}) p.insert(p.end(), more.begin(), more.end());
      return std::pair(p, partial);
    };
    const auto [apart, apart_sums] = run(false);
    const auto [together, together_sums] = run(true);
    CHECK(same_bits(together, apart));
    CHECK(together_sums == apart_sums);
  });
}

namespace {
struct Exact {  // a V of formulas.inl: double, with the library's exp and tanh
  double v;
  explicit Exact(double x) : v(x) {}
  explicit Exact(float x) : v(static_cast<double>(x)) {}
};
Exact operator+(Exact a, Exact b) { return Exact(a.v + b.v); }
Exact operator-(Exact a, Exact b) { return Exact(a.v - b.v); }
Exact operator*(Exact a, Exact b) { return Exact(a.v * b.v); }
Exact operator/(Exact a, Exact b) { return Exact(a.v / b.v); }
Exact fma(Exact a, Exact b, Exact c) { return Exact(std::fma(a.v, b.v, c.v)); }
Exact exp(Exact x) { return Exact(std::exp(x.v)); }
Exact tanh(Exact x) { return Exact(std::tanh(x.v)); }
}  // namespace

TEST_CASE("formulas of our own: in double against the complex step, in float to the last places") {
  using reference::Complex;
  double worst_double = 0;
  auto near = [&](double got, double wanted, double bound) {
    double error = std::abs(got - wanted) / std::max(std::abs(wanted), 1e-300);
    worst_double = std::max(worst_double, error);
    CHECK(error <= bound);
  };
  for (double x = -40; x <= 40; x += 0.0917) {
    near(math::exp(x), std::exp(x), 1e-15);
    near(math::log(x + 40.1), std::log(x + 40.1), x + 40.1 > 0.9 && x + 40.1 < 1.1 ? 1e-14 : 1e-15);
    auto [s, c] = math::sincos(x * 1000);
    CHECK(std::abs(s - std::sin(x * 1000)) <= 1e-11);
    CHECK(std::abs(c - std::cos(x * 1000)) <= 1e-11);
    near(math::pow(10000, x / 40), std::pow(10000, x / 40), 1e-14);
  }
  CHECK(math::exp(-800.0) == 0);
  CHECK(std::isinf(math::exp(710.0)));
  CHECK(math::exp(709.0) == doctest::Approx(std::exp(709.0)).epsilon(1e-14));
  CHECK(std::isinf(math::log(0.0)));
  CHECK(std::isnan(math::log(-1.0)));
  CHECK(math::log(5e-324) == doctest::Approx(std::log(5e-324)).epsilon(1e-14));

  // the same formulas in double and, as the kernels run them, in float
  struct Row {
    float (*value)(float), (*gradient)(float);
    Exact (*exact_gradient)(Exact);
    Complex (*exact)(Complex);
  };
  const double h = 1e-20;
  for (const Row& r : {Row{[](float x) { return math::silu(x); }, [](float x) { return math::silu_gradient(x); },
                           [](Exact x) { return math::silu_gradient(x); }, [](Complex x) { return reference::silu(x); }},
                       Row{[](float x) { return math::gelu(x); }, [](float x) { return math::gelu_gradient(x); },
                           [](Exact x) { return math::gelu_gradient(x); }, [](Complex x) { return reference::gelu(x); }},
                       Row{[](float x) { return math::softplus(x); }, [](float x) { return math::sigmoid(x); }, [](Exact x) { return math::sigmoid(x); },
                           [](Complex x) { return reference::softplus(x); }}})
    for (float x = -9; x <= 9; x += 0.0371f) {
      Complex y = r.exact({wide(x), h});
      CHECK(std::abs(wide(r.value(x)) - y.real()) <= 1e-6);
      CHECK(std::abs(wide(r.gradient(x)) - y.imag() / h) <= 1e-6);
      CHECK(std::abs(r.exact_gradient(Exact{wide(x)}).v - y.imag() / h) <= 1e-7);  // their constants are floats
    }

  // units in the last place
  auto ulps = [](float got, double wanted) {
    return std::abs(wide(got) - wanted) / (wide(std::nextafter(std::abs(static_cast<float>(wanted)), INFINITY)) - std::abs(wide(static_cast<float>(wanted))));
  };
  double worst_exp = 0, worst_log = 0, worst_tanh = 0;
  for (float x = -87; x <= 88; x += 0.00731f) worst_exp = std::max(worst_exp, ulps(math::exp(x), std::exp(wide(x))));
  for (float x = 1e-6f; x < 1e6f; x *= 1.00093f) worst_log = std::max(worst_log, ulps(math::log(x), std::log(wide(x))));
  for (float x = -9; x <= 9; x += 0.00073f) worst_tanh = std::max(worst_tanh, ulps(math::tanh(x), std::tanh(wide(x))));
  CHECK(worst_exp <= 1.0);
  CHECK(worst_log <= 1.0);
  CHECK(worst_tanh <= 2.5);
  MESSAGE("worst: double " << worst_double << "; float in units of the last place: exp " << worst_exp << ", log " << worst_log << ", tanh " << worst_tanh);
}

TEST_CASE("philox gives the published numbers") {  // Random123, kat_vectors, philox4x32 10
  auto same = [](Philox4 got, std::array<std::uint32_t, 4> wanted) { return std::equal(wanted.begin(), wanted.end(), got.v); };
  CHECK(same(philox(0, 0, 0, 0), {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  CHECK(same(philox(~0ull, ~0u, ~0u, ~0ull), {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  CHECK(same(philox(0x299f31d0a4093822, 0x13198a2e, 0x03707344, 0x85a308d3243f6a88), {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST_CASE("large: more than 2^31 elements" * doctest::skip(true)) {  // 8.6 GB
  const std::int64_t n = (std::int64_t{1} << 31) + 17;
  Tensor x = zeros({n});
  x.data()[n - 20] = 1;
  x.data()[n - 1] = 2;
  UnaryArgs a;
  a.scale = 3;
  a.n = n;
  a.x = a.y = x.raw();
  kernel::unary_forward(a);
  CHECK(x.data()[n - 20] == 3);
  CHECK(x.data()[n - 1] == 6);
  CHECK(sum(x).item() == 9);
  CHECK(bam::max(x).item() == 6);
  Tensor columns = sum(x.reshape({n / 5, 5}), {0});  // 2^31 + 17 is a multiple of 5
  CHECK(floats(columns) == Floats{3, 0, 0, 0, 6});
}

}  // namespace bam::ops_test
