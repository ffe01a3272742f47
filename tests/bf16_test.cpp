// The GEMM in bf16: one chain of float fmas with the same bits on every instruction set and by the portable CUDA kernels, and on tensor cores, by their emulation, right to rounding, with the same
// bits in all orders of threads and early and late copies, and without a bank conflict.
#include <cstdlib>
#include <vector>

#include "bam/core/bf16.hpp"
#include "reference.hpp"

namespace bam::bf16_test {

using cuda::emulation::Copies;
using cuda::emulation::Options;
using cuda::emulation::Order;

namespace {

// In which the kernels on tensor cores run.
const std::vector<Options> ways = reference::modes({{.order = Order::forward, .copies = Copies::late, .multiprocessors = 1}, {.order = Order::random, .copies = Copies::early, .multiprocessors = 3}, {.order = Order::backward, .fill = 0x55, .copies = Copies::late, .multiprocessors = 132}});

struct Problem {
  std::int64_t batch, M, N, K;
  bool ta, tb;
  Write write;
  DType out;
};
std::vector<Bf16> draw(std::int64_t n, Random& random) {
  std::vector<Bf16> v(static_cast<std::size_t>(n) + 8);  // aligned to 16 bytes, as operator new gives; never empty
  for (Bf16& x : v) x = to_bf16(static_cast<float>(math::normal(random)));
  return v;
}
template <class T>
double number(T x) {
  if constexpr (std::is_same_v<T, Bf16>) return static_cast<double>(to_float(x));
  else return static_cast<double>(x);
}

// Positions of rows, and angles.
struct Turns {
  std::vector<std::int32_t> positions;
  std::vector<float> table;
  std::int64_t head_dim;
  Turns(std::int64_t rows, std::int64_t d, Random& random) : head_dim(d) {
    for (std::int64_t r = 0; r < rows; ++r) positions.push_back(static_cast<std::int32_t>(random.below(40)));
    for (std::int64_t p = 0; p < 40; ++p)
      for (std::int64_t i = 0; i < d; ++i) {
        const double angle = static_cast<double>(p) * std::pow(1e4, -2.0 * static_cast<double>(i % (d / 2)) / static_cast<double>(d));
        table.push_back(static_cast<float>(i < d / 2 ? std::cos(angle) : std::sin(angle)));
      }
  }
  Rotation rotation(bool rotate_half) const { return {rotate_half, head_dim, positions.data(), table.data()}; }
};

struct Served {  // how many runs of the emulation multiplied on tensor cores, and on those of warpgroups; of a GPU's runs nothing is known
  std::int64_t tensor_cores = 0, warpgroups = 0;
  // f, without a bank conflict.
  template <class F>
  void run(F f) {
    const cuda::emulation::Counts& counts = cuda::emulation::counts();
    const auto before = counts;
    f();
    if (reference::on_gpu) return;
    CHECK(counts.bank_conflicts == before.bank_conflicts);
    tensor_cores += counts.matrix_loads > before.matrix_loads || counts.products > before.products;
    warpgroups += counts.products > before.products;
  }
};

// compute() fills C: with the same bits on every instruction set and by the portable CUDA kernels, then on the path that the shape chooses, tensor cores where lines are aligned. The worst error.
template <class Out, class Compute>
double check_paths(Compute compute, const std::vector<Out>& C, const std::vector<double>& wanted, Served& served) {
  auto same = [](const std::vector<Out>& a, const std::vector<Out>& b) { return std::memcmp(a.data(), b.data(), a.size() * sizeof(Out)) == 0; };
  auto error = [&] {
    std::vector<double> got;
    for (Out x : C) got.push_back(number(x));
    return reference::error_of(got, wanted);
  };
  const double bound = std::is_same_v<Out, Bf16> ? 0x1p-8 : 2e-6;  // one rounding
  std::vector<Out> first;
  reference::everywhere([&] {
    compute();
    if (first.empty()) first = C;
    CHECK(same(C, first));
  });
  double worst = error();
  CHECK(worst < bound);
  if (!reference::emulation_runs) return worst;
  for (const char* path : reference::fast_paths()) {
    std::vector<Out> again;
    reference::emulated(path, [&] {
      served.run(compute);
      if (again.empty()) again = C;
      CHECK(same(C, again));
    }, ways);
    CAPTURE(path);
    worst = std::max(worst, error());
    CHECK(worst < bound);
  }
  return worst;
}

// Out: what C holds.
template <class Out>
double check_gemm(const Problem& z, Random& random, Served& served) {
  const std::vector<Bf16> A = draw(z.batch * z.M * z.K, random), B = draw(z.batch * z.K * z.N, random);
  std::vector<Out> start(static_cast<std::size_t>(z.batch * z.M * z.N) + 8);  // more than there is: it stays
  for (Out& x : start) {
    const auto v = static_cast<float>(math::normal(random));
    if constexpr (std::is_same_v<Out, Bf16>) x = to_bf16(v);
    else x = v;
  }
  GemmArgs s;
  s.dtype = DType::bf16;
  s.out = z.out;
  s.write = z.write;
  s.transpose_a = z.ta;
  s.transpose_b = z.tb;
  s.batch = z.batch, s.M = z.M, s.N = z.N, s.K = z.K;
  s.A = A.data(), s.lda = z.ta ? z.M : z.K, s.batch_a = z.M * z.K;
  s.B = B.data(), s.ldb = z.tb ? z.K : z.N, s.batch_b = z.K * z.N;
  s.ldc = z.N, s.batch_c = z.M * z.N;
  std::vector<Out> C;
  auto compute = [&] {
    C = start;
    s.C = C.data();
    kernel::gemm(s);
  };
  std::vector<double> wanted;
  for (std::int64_t n = 0; n < z.batch; ++n)
    for (std::int64_t i = 0; i < z.M; ++i)
      for (std::int64_t j = 0; j < z.N; ++j) {
        double sum = z.write == Write::add ? number(start[static_cast<std::size_t>((n * z.M + i) * z.N + j)]) : 0;
        for (std::int64_t k = 0; k < z.K; ++k)
          sum += number(A[static_cast<std::size_t>(n * s.batch_a + (z.ta ? k * s.lda + i : i * s.lda + k))]) * number(B[static_cast<std::size_t>(n * s.batch_b + (z.tb ? j * s.ldb + k : k * s.ldb + j))]);
        wanted.push_back(sum);
      }
  double worst = check_paths(compute, C, wanted, served);
  if (z.write == Write::add && z.batch == 1) {  // added to what lies elsewhere
    s.from = start.data();
    Served as_before;
    worst = std::max(worst, check_paths([&] {
      C.assign(start.size(), Out{});
      std::copy(start.begin() + z.M * z.N, start.end(), C.begin() + z.M * z.N);
      s.C = C.data();
      kernel::gemm(s);
    }, C, wanted, as_before));
  }
  return worst;
}

// Attention over segments, forward and backward, from and into packed rows [q | k | v]. What comes of it in fp32, from the same bf16 values, is what is wanted.
struct Attention {
  std::int64_t heads, kv_heads, group, head_dim;
  bool causal, gated;
  std::vector<std::int64_t> lengths;     // of documents, one after the other
  std::vector<Segment> segments = {};    // or queries and keys apart
};
struct AttentionResult {
  std::vector<Bf16> out, dqkv;
  std::vector<float> lse, dgate;
};
AttentionArgs attention_args(const Attention& t, const std::vector<Segment>& segments, std::int64_t rows) {
  AttentionArgs a;
  a.causal = t.causal;
  a.segments = static_cast<std::int64_t>(segments.size());
  a.segment = segments.data();
  a.rows = a.key_rows = rows;
  a.heads = t.heads, a.kv_heads = t.kv_heads, a.group = t.group, a.head_dim = t.head_dim;
  a.heads_per_gate = 2;
  a.scale = 1.0f / math::sqrt(static_cast<float>(t.head_dim));
  a.q_row = a.k_row = a.v_row = (t.heads + 2 * t.kv_heads) * t.head_dim;
  a.out_row = a.dout_row = t.heads * t.head_dim;
  a.gate_row = t.heads / 2;
  return a;
}
void point(AttentionArgs& a, const void* qkv, void* dqkv, std::int64_t size) {
  const std::int64_t k = a.heads * a.head_dim * size, v = k + a.kv_heads * a.head_dim * size;
  a.q = qkv, a.k = static_cast<const char*>(qkv) + k, a.v = static_cast<const char*>(qkv) + v;
  a.dq = dqkv, a.dk = static_cast<char*>(dqkv) + k, a.dv = static_cast<char*>(dqkv) + v;
}

}  // namespace

TEST_CASE("bf16: attention on every instruction set and by the CUDA kernels") {
  Random random(11);
  double worst_forward = 0, worst_backward = 0, worst_portable = 0;
  Served served;
  std::int64_t tensor_rows = 0, warpgroup_rows = 0;
  for (const Attention& t : {Attention{2, 2, 1, 32, true, false, {70, 1, 130}}, Attention{4, 2, 2, 64, true, true, {64, 65, 3}}, Attention{2, 1, 2, 128, true, true, {150}}, Attention{4, 2, 1, 32, false, true, {33, 100}},
                             Attention{2, 1, 2, 24, true, true, {40, 17}}, Attention{8, 1, 1, 32, true, true, {50, 9}}, Attention{8, 2, 2, 128, true, true, {70}}, Attention{2, 2, 1, 64, false, false, {1, 128}},
                             Attention{2, 1, 2, 128, true, true, {1, 385}}, Attention{2, 2, 1, 128, false, false, {129, 3}},
                             // Keys from before the queries, segments with none of either, queries that see nothing.
                             Attention{4, 2, 2, 64, true, true, {}, {{0, 20, 0, 90}, {20, 0, 90, 0}, {20, 70, 90, 40}, {}}}, Attention{2, 1, 2, 128, true, true, {}, {{0, 1, 0, 200}, {}, {1, 140, 200, 70}, {}}},
                             Attention{2, 2, 1, 32, false, false, {}, {{0, 3, 0, 80}, {3, 5, 80, 0}, {}}}, Attention{2, 1, 2, 128, false, true, {}, {{0, 3, 0, 80}, {3, 5, 80, 0}, {}}}}) {
    CAPTURE(t.head_dim);
    CAPTURE(t.causal);
    CAPTURE(t.lengths.size());
    std::vector<Segment> segments = t.segments;
    std::int64_t rows = 0;
    for (std::int64_t n : t.lengths) segments.push_back({rows, n, rows, n}), rows += n;
    for (const Segment& g : segments) rows = std::max({rows, g.q_begin + g.q_length, g.k_begin + g.k_length});
    AttentionArgs a = attention_args(t, segments, rows);
    const Turns turns(rows, t.head_dim, random);
    if (t.segments.empty() && (t.causal || t.head_dim == 32)) a.turned = turns.rotation(!t.causal);  // by halves, which no tensor-core kernel turns, where it is not causal
    const std::vector<Bf16> qkv = draw(rows * a.q_row, random), dout = draw(rows * a.out_row, random);
    std::vector<float> gate;
    for (std::int64_t i = 0; i < rows * a.gate_row; ++i) gate.push_back(static_cast<float>(random.uniform()));
    if (t.gated) a.gate = gate.data();
    auto floats_of = [](const std::vector<Bf16>& x) {
      std::vector<float> y;
      for (Bf16 v : x) y.push_back(to_float(v));
      return y;
    };
    // fp32 on the same values.
    std::vector<float> wide = floats_of(qkv), wide_dout = floats_of(dout), out(static_cast<std::size_t>(rows * a.out_row)), lse(static_cast<std::size_t>(t.heads * rows)), dqkv(static_cast<std::size_t>(rows * a.q_row)), dgate(gate.size());
    AttentionArgs f = a;
    point(f, wide.data(), dqkv.data(), 4);
    f.out = out.data(), f.lse = lse.data(), f.dout = wide_dout.data();
    if (t.gated) f.dgate = dgate.data();
    kernel::attention_forward(f);
    kernel::attention_backward(f);
    auto compute = [&] {
      AttentionResult r;
      r.out.resize(out.size() + 8), r.dqkv.resize(dqkv.size() + 8), r.lse.resize(lse.size()), r.dgate.resize(dgate.size());
      a.dtype = DType::bf16;
      point(a, qkv.data(), r.dqkv.data(), 2);
      a.out = r.out.data(), a.lse = r.lse.data(), a.dout = dout.data();
      a.dgate = t.gated ? r.dgate.data() : nullptr;
      kernel::attention_forward(a);
      kernel::attention_backward(a);
      return r;
    };
    auto same = [](const AttentionResult& x, const AttentionResult& y) {
      return std::memcmp(x.out.data(), y.out.data(), x.out.size() * 2) == 0 && std::memcmp(x.dqkv.data(), y.dqkv.data(), x.dqkv.size() * 2) == 0 && reference::same_bits(x.lse, y.lse) && reference::same_bits(x.dgate, y.dgate);
    };
    auto error = [&](const std::vector<Bf16>& got, const std::vector<float>& wanted) {
      return reference::error_of(floats_of(got), std::vector<double>(wanted.begin(), wanted.end()));
    };
    AttentionResult first;
    reference::everywhere([&] {
      AttentionResult r = compute();
      if (first.out.empty()) first = r;
      CHECK(same(r, first));
    });
    worst_portable = std::max(worst_portable, error(first.out, out));
    CHECK(error(first.out, out) < 0x1p-8);
    CHECK(error(first.dqkv, dqkv) < 2e-2);  // from out, rounded
    CHECK(reference::same_bits(first.lse, lse));

    if (!reference::emulation_runs) continue;
    tensor_rows += t.head_dim != 24;
    warpgroup_rows += t.head_dim == 128;
    for (const char* path : reference::fast_paths()) {
      AttentionResult fast;
      reference::emulated(path, [&] {
        AttentionResult r;
        served.run([&] { r = compute(); });
        if (fast.out.empty()) fast = r;
        CHECK(same(r, fast));
      }, ways);
      CAPTURE(path);
      worst_forward = std::max(worst_forward, error(fast.out, out));
      worst_backward = std::max(worst_backward, error(fast.dqkv, dqkv));
      CHECK(error(fast.out, out) < 1e-2);
      CHECK(error(fast.dqkv, dqkv) < 2e-2);
      if (t.gated) CHECK(reference::error_of(fast.dgate, std::vector<double>(dgate.begin(), dgate.end())) < 2e-2);
      std::vector<double> seen, wanted;  // of rows that see something; of others it is minus infinity
      for (std::size_t i = 0; i < lse.size(); ++i) {
        CHECK((fast.lse[i] == lse[i] || !std::isinf(lse[i])));
        if (!std::isinf(lse[i])) seen.push_back(static_cast<double>(fast.lse[i])), wanted.push_back(static_cast<double>(lse[i]));
      }
      CHECK(reference::error_of(seen, wanted) < 1e-5);
    }
  }
  if (reference::counted()) {
    CHECK(served.tensor_cores == 2 * std::ssize(ways) * tensor_rows);
    CHECK(served.warpgroups == std::ssize(ways) * warpgroup_rows);
  }
  MESSAGE("worst error: portable, forward " << worst_portable << "; tensor cores, forward " << worst_forward << ", backward " << worst_backward);
}

TEST_CASE("bf16: on tensor cores heads that share their keys have the bits of heads with keys of their own") {
  if (!reference::emulation_runs) return;
  Random random(12);
  for (const Attention& t : {Attention{4, 1, 1, 64, true, true, {70, 5, 33}}, Attention{8, 1, 1, 32, false, true, {40}}, Attention{8, 2, 2, 128, true, true, {1, 150}}, Attention{8, 1, 1, 128, true, false, {37, 20}}, Attention{6, 2, 1, 32, true, false, {20}}}) {
    CAPTURE(t.heads);
    CAPTURE(t.head_dim);
    std::vector<Segment> segments;
    std::int64_t rows = 0;
    for (std::int64_t n : t.lengths) segments.push_back({rows, n, rows, n}), rows += n;
    const AttentionArgs shared = attention_args(t, segments, rows);
    Attention each = t;
    each.kv_heads = t.heads, each.group = 1;
    const AttentionArgs own = attention_args(each, segments, rows);
    const std::vector<Bf16> qkv = draw(rows * shared.q_row, random), dout = draw(rows * shared.out_row, random);
    std::vector<Bf16> copied(static_cast<std::size_t>(rows * own.q_row) + 8);
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t h = 0; h < 3 * t.heads; ++h) {
        const std::int64_t kv = h % t.heads / t.group % t.kv_heads, from = h < t.heads ? h : t.heads + (h < 2 * t.heads ? kv : t.kv_heads + kv);
        std::copy_n(qkv.begin() + r * shared.q_row + from * t.head_dim, t.head_dim, copied.begin() + r * own.q_row + h * t.head_dim);
      }
    std::vector<float> gate;
    for (std::int64_t i = 0; i < rows * shared.gate_row; ++i) gate.push_back(static_cast<float>(random.uniform()));
    auto run = [&](AttentionArgs a, const std::vector<Bf16>& x) {
      std::vector<Bf16> out(static_cast<std::size_t>(rows * a.out_row) + 8), dx(static_cast<std::size_t>(rows * a.q_row) + 8);
      std::vector<float> lse(static_cast<std::size_t>(t.heads * rows)), dgate(gate.size());
      a.dtype = DType::bf16;
      point(a, x.data(), dx.data(), 2);
      if (t.gated) a.gate = gate.data(), a.dgate = dgate.data();
      a.out = out.data(), a.lse = lse.data(), a.dout = dout.data();
      kernel::attention_forward(a);
      kernel::attention_backward(a);
      std::vector<std::uint16_t> bits;
      for (Bf16 v : out) bits.push_back(v.bits);
      for (std::int64_t i = 0; i < rows * t.heads * t.head_dim; ++i) bits.push_back(dx[static_cast<std::size_t>(i / (t.heads * t.head_dim) * a.q_row + i % (t.heads * t.head_dim))].bits);  // dq
      return std::tuple(bits, lse, dgate);
    };
    for (const char* path : {"mma", "wgmma"}) {
      CAPTURE(path);
      reference::emulated(path, [&] { CHECK((run(shared, qkv) == run(own, copied))); }, {ways[1]});
    }
  }
}

namespace {

// The product of each expert, from rows in order or by an index, into float or bf16; wanted is what fp32 makes of the same values.
template <class Out>
double check_grouped(const std::vector<std::int64_t>& counts_of, std::int64_t M, std::int64_t N, std::int64_t K, bool weights, bool transpose_b, bool indexed, Write write, Random& random, Served& served) {
  const auto E = static_cast<std::int64_t>(counts_of.size());
  std::vector<std::int64_t> offsets{0}, a_index, b_index;
  for (std::int64_t n : counts_of) offsets.push_back(offsets.back() + n);
  const std::int64_t rows = offsets.back(), pool = indexed ? rows + 3 : rows;
  for (std::int64_t r = 0; r < rows; ++r) {
    a_index.push_back(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(pool))));
    b_index.push_back(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(pool))));
  }
  const std::int64_t a_width = weights ? M : K, b_size = weights ? pool * N : E * K * N, c_size = weights ? E * M * N : rows * N;
  const std::vector<Bf16> A = draw(pool * a_width, random), B = draw(b_size, random);
  std::vector<Out> start(static_cast<std::size_t>(c_size) + 8);
  for (Out& x : start) {
    const auto v = static_cast<float>(math::normal(random));
    if constexpr (std::is_same_v<Out, Bf16>) x = to_bf16(v);
    else x = v;
  }
  GroupedGemmArgs s;
  s.dtype = DType::bf16;
  s.out = std::is_same_v<Out, Bf16> ? DType::bf16 : DType::f32;
  s.write = write;
  s.weights = weights;
  s.transpose_b = transpose_b;
  s.experts = E, s.M = M, s.N = N, s.K = K;
  s.offsets = offsets.data();
  if (indexed) s.a_index = a_index.data(), s.b_index = b_index.data();
  s.A = A.data(), s.lda = a_width;
  s.B = B.data(), s.ldb = !weights && transpose_b ? K : N;
  s.ldc = N;
  s.expert_stride = weights ? M * N : K * N;
  // fp32 on the same values.
  std::vector<float> a, b, wanted_values;
  for (Bf16 x : A) a.push_back(to_float(x));
  for (Bf16 x : B) b.push_back(to_float(x));
  for (Out x : start) wanted_values.push_back(static_cast<float>(number(x)));
  GroupedGemmArgs f = s;
  f.dtype = f.out = DType::f32;
  f.A = a.data(), f.B = b.data(), f.C = wanted_values.data();
  kernel::grouped_gemm(f);
  const std::vector<double> wanted(wanted_values.begin(), wanted_values.end());
  std::vector<Out> C;
  auto compute = [&] {
    C = start;
    s.C = C.data();
    kernel::grouped_gemm(s);
  };
  return check_paths(compute, C, wanted, served);
}

}  // namespace

TEST_CASE("bf16: grouped gemm on every instruction set and by the CUDA kernels") {
  Random random(17);
  double worst[2] = {};
  Served served;
  std::int64_t rows = 0, aligned = 0, by_warpgroups = 0;
  enum class Size { small, odd, deep };  // deep: more steps than the stages of any path
  for (const std::vector<std::int64_t>& counts : {std::vector<std::int64_t>{5, 0, 17}, {0, 130, 1, 40}, {0, 0}})
    for (Size size : {Size::small, Size::odd, Size::deep})
      for (int mode = 0; mode < 24; ++mode) {
        const bool weights = mode % 3 == 2, transpose_b = mode % 3 == 1, indexed = (mode / 3 & 1) != 0, narrow = (mode / 6 & 1) != 0;
        const Write write = mode / 12 ? Write::add : Write::overwrite;
        const bool odd = size == Size::odd;
        if (size == Size::deep && (counts.size() < 4 || weights)) continue;
        const std::int64_t M = odd ? 13 : 24, N = odd ? 7 : 136, K = odd ? 11 : size == Size::deep ? 320 : 40;
        CAPTURE(mode);
        CAPTURE(odd);
        double& w = worst[narrow];
        w = std::max(w, narrow ? check_grouped<Bf16>(counts, M, N, K, weights, transpose_b, indexed, write, random, served) : check_grouped<float>(counts, M, N, K, weights, transpose_b, indexed, write, random, served));
        ++rows;
        aligned += !odd && counts.size() > 2;
        by_warpgroups += !odd && counts.size() > 2 && (weights || transpose_b || K % 64 == 0);
      }
  if (reference::counted()) {
    CHECK(served.tensor_cores == 2 * std::ssize(ways) * aligned);
    CHECK(served.warpgroups == std::ssize(ways) * by_warpgroups);
  }
  MESSAGE(rows << " rows; worst error " << worst[0] << " into float, " << worst[1] << " into bf16");
}

TEST_CASE("bf16: SwiGLU and its gradient in the kernel of the experts' product, with the bits of a row of its own but for dscale's") {
  Random random(29);
  struct Shape {
    std::vector<std::int64_t> counts;
    std::int64_t f, c;
  };
  // Widths that are whole tiles of 64 gates, that are not, that begin a second tile of 128, and two that no kernel takes whole lines of.
  for (const Shape& r : std::vector<Shape>{{{5, 0, 17}, 64, 64}, {{0, 130, 1, 40}, 72, 320}, {{3, 129}, 136, 40}, {{0, 0}, 24, 64}, {{9}, 8, 8}, {{9, 3}, 20, 24}, {{4, 7}, 33, 64}})
    for (const bool scaled : {false, true}) {
      const bool indexed = !scaled;
      CAPTURE(r.f);
      CAPTURE(r.c);
      CAPTURE(scaled);
      std::vector<std::int64_t> offsets{0}, index;
      for (std::int64_t n : r.counts) offsets.push_back(offsets.back() + n);
      const std::int64_t rows = offsets.back(), f = r.f, c = r.c, experts = std::ssize(r.counts), width = 2 * f + (f % 8 == 0 ? 8 : 2);
      for (std::int64_t i = 0; i < rows; ++i) index.push_back(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(rows))));
      const std::vector<Bf16> u = draw(rows * c, random), dy = draw(rows * c, random), w_in = draw(experts * 2 * f * c, random), w_out = draw(experts * c * f, random);
      std::vector<float> scale;
      for (std::int64_t i = 0; i < rows + 1; ++i) scale.push_back(static_cast<float>(math::normal(random)));
      struct Outputs {
        std::vector<Bf16> x, y, dx;
        std::vector<float> dscale;
      };
      cuda::emulation::Counts& counts = cuda::emulation::counts();
      std::int64_t launched[2] = {};
      auto compute = [&](bool together) {
        const auto filled = [&](std::int64_t n) { return std::vector<Bf16>(static_cast<std::size_t>(n) + 8, to_bf16(7.0f)); };
        Outputs o{filled(rows * width), filled(rows * f), filled(rows * width), std::vector<float>(static_cast<std::size_t>(rows) + 1, 7.0f)};
        GroupedGemmArgs up;
        up.dtype = up.out = DType::bf16;
        up.transpose_b = true;
        up.experts = experts, up.N = 2 * f, up.K = c;
        up.offsets = offsets.data();
        if (indexed) up.a_index = index.data();
        up.A = u.data(), up.lda = c;
        up.B = w_in.data(), up.ldb = c, up.expert_stride = 2 * f * c;
        up.C = o.x.data(), up.ldc = width;
        SwigluArgs s;
        s.dtype = DType::bf16;
        s.rows = rows, s.columns = f;
        s.x = o.x.data(), s.x_row = s.dx_row = width;
        if (scaled) s.scale = scale.data();
        s.y = o.y.data(), s.y_row = f;
        if (together) up.swiglu = s;
        const auto before = counts.launches;
        kernel::grouped_gemm(up);
        if (!together) kernel::swiglu_forward(s);
        const auto between = counts.launches;
        GroupedGemmArgs down = up;
        down.transpose_b = false;
        down.N = f;
        down.A = dy.data();
        down.B = w_out.data(), down.ldb = f, down.expert_stride = c * f;
        std::vector<Bf16> apart = filled(rows * f);
        down.C = together ? o.dx.data() + f : apart.data(), down.ldc = together ? width : f;
        s.y = nullptr;
        s.dx = o.dx.data();
        s.dy = down.C, s.dy_row = down.ldc;
        if (scaled) s.dscale = o.dscale.data();
        down.swiglu = together ? s : SwigluArgs{};
        kernel::grouped_gemm(down);
        if (!together) kernel::swiglu_backward(s);
        launched[0] = between - before, launched[1] = counts.launches - between;
        return o;
      };
      auto same = [](const auto& a, const auto& b) { return std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0; };
      auto check_both = [&](bool same_sums) {
        const Outputs two = compute(false), one = compute(true);
        CHECK(same(one.x, two.x));
        CHECK(same(one.y, two.y));
        CHECK(same(one.dx, two.dx));
        if (same_sums) CHECK(same(one.dscale, two.dscale));
        else CHECK(reference::error_of(one.dscale, std::vector<double>(two.dscale.begin(), two.dscale.end())) < 1e-6);
        return one;
      };
      reference::everywhere([&] { check_both(true); });
      for (const char* path : reference::fast_paths()) {
        const bool fused = f % 8 == 0;
        Outputs first;
        reference::emulated(path, [&] {
          const auto before = counts;
          const Outputs o = check_both(!fused);
          CHECK(counts.bank_conflicts == before.bank_conflicts);
          if (rows > 0 && !reference::on_gpu) {
            CHECK(launched[0] == (fused ? 1 : 2));
            CHECK(launched[1] == (fused && !scaled ? 1 : 2));  // the sums of dscale's parts
            if (fused) CHECK((counts.products > before.products) == (std::string(path) == "wgmma"));
          }
          if (first.x.empty()) first = o;
          CHECK(same(o.x, first.x));
          CHECK(same(o.y, first.y));
          CHECK(same(o.dx, first.dx));
          CHECK(same(o.dscale, first.dscale));
        }, ways);
      }
    }
  reference::counted();
}

TEST_CASE("bf16: a product whose first heads are turned, in its kernel where pairs are neighbours and heads a power of two wide") {
  Random random(19);
  Served served;
  double worst = 0;
  std::int64_t rows = 0;
  for (const std::int64_t head_dim : {32, 24})
    for (const bool rotate_half : {false, true})
      for (const std::int64_t turned_heads : {0, 3, 5}) {
        CAPTURE(head_dim);
        CAPTURE(rotate_half);
        CAPTURE(turned_heads);
        const std::int64_t M = 133, N = 5 * head_dim + 8, K = 72;
        const Turns turns(M, head_dim, random);
        const std::vector<Bf16> A = draw(M * K, random), B = draw(N * K, random);
        GemmArgs s;
        s.dtype = s.out = DType::bf16;
        s.transpose_b = true;
        s.M = M, s.N = N, s.K = K;
        s.A = A.data(), s.lda = K;
        s.B = B.data(), s.ldb = K;
        s.ldc = N;
        s.turn = turns.rotation(rotate_half);
        s.turned_heads = turned_heads;
        std::vector<double> wanted;
        for (std::int64_t i = 0; i < M; ++i) {
          std::vector<double> line;
          for (std::int64_t j = 0; j < N; ++j) {
            double sum = 0;
            for (std::int64_t k = 0; k < K; ++k) sum += number(A[static_cast<std::size_t>(i * K + k)]) * number(B[static_cast<std::size_t>(j * K + k)]);
            line.push_back(sum);
          }
          for (std::int64_t h = 0; h < turned_heads; ++h)
            for (std::int64_t p = 0; p < head_dim / 2; ++p) {
              double &x = line[static_cast<std::size_t>(h * head_dim + (rotate_half ? p : 2 * p))], &y = line[static_cast<std::size_t>(h * head_dim + (rotate_half ? p + head_dim / 2 : 2 * p + 1))];
              const double angle = static_cast<double>(turns.positions[static_cast<std::size_t>(i)]) * std::pow(1e4, -2.0 * static_cast<double>(p) / static_cast<double>(head_dim)), a = x, b = y;
              x = a * std::cos(angle) - b * std::sin(angle);
              y = b * std::cos(angle) + a * std::sin(angle);
            }
          wanted.insert(wanted.end(), line.begin(), line.end());
        }
        std::vector<Bf16> C;
        auto compute = [&] {
          C.assign(static_cast<std::size_t>(M * N) + 8, to_bf16(7.0f));
          s.C = C.data();
          kernel::gemm(s);
        };
        worst = std::max(worst, check_paths(compute, C, wanted, served));
        ++rows;
      }
  if (reference::counted()) {
    CHECK(served.tensor_cores == 2 * std::ssize(ways) * rows);
    CHECK(served.warpgroups == std::ssize(ways) * rows);
  }
  MESSAGE(rows << " rows; worst error " << worst);
}

TEST_CASE("bf16: two products in one call are those of two calls, and one launch; a sum of two is rounded once") {
  Random random(29);
  const bool counted = reference::counted();
  struct Shape {
    std::int64_t M, N, K;
  };
  struct Row {
    bool ta, tb, sum;
    Shape first, second;
    DType out;
    Write write;
    int launches;  // of a pair
    std::int64_t turned = 0;
  };
  double worst = 0;
  for (const Row& r : {Row{false, true, false, {200, 96, 72}, {200, 264, 72}, DType::bf16, Write::overwrite, 1, 2}, {false, true, true, {150, 136, 48}, {150, 136, 104}, DType::f32, Write::add, 1},
                       {false, false, true, {150, 72, 264}, {150, 72, 96}, DType::f32, Write::overwrite, 1}, {false, false, true, {150, 72, 264}, {150, 72, 96}, DType::bf16, Write::overwrite, 2},
                       {false, false, false, {200, 96, 72}, {200, 264, 72}, DType::bf16, Write::overwrite, 1}, {true, false, false, {264, 72, 200}, {96, 72, 200}, DType::f32, Write::add, 1},
                       {false, true, false, {40, 33, 24}, {40, 72, 24}, DType::bf16, Write::overwrite, 1}, {false, true, false, {40, 40, 24}, {40, 72, 24}, DType::f32, Write::overwrite, 2}, {false, true, false, {40, 40, 21}, {40, 72, 21}, DType::f32, Write::overwrite, 2},
                       {false, true, false, {40, 40, 24}, {40, 72, 0}, DType::f32, Write::overwrite, 2}}) {
    CAPTURE(r.first.N);
    CAPTURE(r.launches);
    const std::int64_t size = size_of(r.out);
    std::vector<std::vector<Bf16>> operands;
    std::vector<std::vector<char>> results(2), start;
    const Turns turns(r.first.M, 16, random);
    auto product = [&](const Shape& z, Write write) {
      GemmArgs g;
      g.dtype = DType::bf16;
      g.out = r.out;
      g.write = write;
      g.transpose_a = r.ta, g.transpose_b = r.tb;
      g.M = z.M, g.N = z.N, g.K = z.K;
      operands.push_back(draw(z.M * z.K, random));
      g.A = operands.back().data(), g.lda = r.ta ? z.M : z.K;
      operands.push_back(draw(z.K * z.N, random));
      g.B = operands.back().data(), g.ldb = r.tb ? z.K : z.N;
      g.ldc = z.N;
      std::vector<char> c(static_cast<std::size_t>(z.M * z.N * size) + 32);
      for (std::int64_t i = 0; i < z.M * z.N; ++i) {
        const auto v = static_cast<float>(math::normal(random));
        const Bf16 b = to_bf16(v);
        std::memcpy(c.data() + i * size, size == 4 ? static_cast<const void*>(&v) : &b, static_cast<std::size_t>(size));
      }
      start.push_back(c);
      return g;
    };
    GemmPairArgs pair{product(r.first, r.write), product(r.second, r.sum ? Write::add : r.write)};
    if (r.turned) pair.first.turn = turns.rotation(false), pair.first.turned_heads = r.turned;
    auto run = [&](bool at_once) {
      results = start;
      pair.first.C = results[0].data(), pair.second.C = results[r.sum ? 0 : 1].data();
      const std::int64_t before = cuda::emulation::counts().launches;
      if (at_once) {
        kernel::gemm_pair(pair);
      } else {
        kernel::gemm(pair.first);
        kernel::gemm(pair.second);
      }
      return std::pair(results, cuda::emulation::counts().launches - before);
    };
    std::vector<const char*> paths = reference::fast_paths();
    paths.insert(paths.begin(), "portable");
    for (const char* path : paths) {
      const bool in_one = r.launches == 1 && std::string_view(path) != "portable";
      decltype(results) first;
      reference::emulated(path, [&] {
        const auto wanted = run(false).first;
        const auto [got, launches] = run(true);
        if (counted && in_one) CHECK(launches == 1);
        if (counted && !in_one) CHECK(launches >= (r.second.K ? 2 : 1));
        if (first.empty()) first = got;
        CHECK(got == first);
        if (!r.sum || !in_one) {
          CHECK(got == wanted);
          return;
        }
        std::vector<double> a, b;
        for (std::int64_t i = 0; i < r.first.M * r.first.N; ++i) {
          float x, y;
          std::memcpy(&x, got[0].data() + 4 * i, 4);
          std::memcpy(&y, wanted[0].data() + 4 * i, 4);
          a.push_back(static_cast<double>(x)), b.push_back(static_cast<double>(y));
        }
        worst = std::max(worst, reference::error_of(a, b));
      }, ways);
    }
  }
  CHECK(worst < 2e-6);
}

TEST_CASE("cross-entropy of wide rows by the fast CUDA kernels: largest logits anywhere, some of minus infinity") {
  if (!reference::emulation_runs) return;
  Random random(23);
  double worst = 0;
  for (const std::int64_t columns : {5000, 5003, 24})
    for (const DType out : {DType::f32, DType::bf16}) {
      CAPTURE(columns);
      reference::emulated("mma", [&] {
        const std::int64_t rows = 4;
        std::vector<float> x;
        std::vector<std::int32_t> target;
        for (std::int64_t r = 0; r < rows; ++r) {
          for (std::int64_t c = 0; c < columns; ++c) {
            const double rising = r == 1 ? static_cast<double>(c) / 100 : r == 2 ? -static_cast<double>(c) / 100 : 0;
            x.push_back(r == 3 && c != columns - 1 && c % 7 != 3 ? -__builtin_inff() : static_cast<float>(3 * math::normal(random) + rising));
          }
          target.push_back(r == 0 ? -1 : static_cast<std::int32_t>(r == 3 ? columns - 1 : static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(columns)))));
        }
        std::vector<float> nll(rows), lse(rows);
        CrossEntropyArgs s;
        s.out = out;
        s.rows = rows;
        s.columns = s.x_row = s.dx_row = columns;
        s.scale = 1.5f;
        s.x = x.data(), s.target = target.data(), s.nll = nll.data(), s.lse = lse.data();
        kernel::cross_entropy_forward(s);
        for (std::size_t r = 0; r < 4; ++r) {
          const float* row = x.data() + static_cast<std::int64_t>(r) * columns;
          double top = -1e300, sum = 0;
          for (std::int64_t c = 0; c < columns; ++c) top = std::max(top, 1.5 * static_cast<double>(row[c]));
          for (std::int64_t c = 0; c < columns; ++c) sum += std::exp(1.5 * static_cast<double>(row[c]) - top);
          const double wanted = top + std::log(sum);
          worst = std::max(worst, std::abs(static_cast<double>(lse[r]) - wanted) / std::abs(wanted));
          if (target[r] < 0) CHECK(nll[r] == 0.0f);
          else CHECK(static_cast<double>(nll[r]) == doctest::Approx(wanted - 1.5 * static_cast<double>(row[target[r]])).epsilon(1e-5));
        }
      }, ways);
    }
  CHECK(worst < 1e-6);
  MESSAGE("worst error of lse " << worst);
}

TEST_CASE("bf16: a path or a library that is none is refused") {
  if (!reference::emulation_runs) return;
  reference::Settings settings;
  kernels() = &reference::cuda_on_host_memory;
  const std::vector<Bf16> A(512);
  std::vector<float> C(64);
  GemmArgs s;
  s.dtype = DType::bf16;
  s.M = s.N = s.ldb = s.ldc = 8;
  s.K = s.lda = 48;
  s.A = s.B = A.data(), s.C = C.data();
  setenv("BAM_CUDA_PATH", "portabel", 1);
  CHECK_THROWS_WITH_AS(kernel::gemm(s), doctest::Contains("wanted portable, mma or wgmma, got 'portabel'"), Error);
  if (!reference::on_gpu) {
    setenv("BAM_CUDA_PATH", "wgmma", 1);
    cuda::emulation::options().warpgroups = false;
    CHECK_THROWS_WITH_AS(kernel::gemm(s), doctest::Contains("wgmma wants a GPU of compute capability 9.0"), Error);
    cuda::emulation::options().warpgroups = true;
    CHECK_NOTHROW(kernel::gemm(s));
  }
  setenv("BAM_CUDA_PATH", "mma", 1);
  setenv("BAM_CUDA_LIBRARY", "cublas", 1);
  CHECK_THROWS_WITH_AS(kernel::gemm(s), doctest::Contains("wanted cublaslt or nothing, got 'cublas'"), Error);
  setenv("BAM_CUDA_LIBRARY", "cublaslt", 1);
  if (!reference::on_gpu) CHECK_THROWS_WITH_AS(kernel::gemm(s), doctest::Contains("the emulation runs no library"), Error);
  unsetenv("BAM_CUDA_LIBRARY");
  setenv("BAM_CUDA_PATH", "mma", 1);
  CHECK_NOTHROW(kernel::gemm(s));
  unsetenv("BAM_CUDA_PATH");
}

TEST_CASE("bf16: conversions round to nearest, ties to even") {
  CHECK(to_bf16(1.0f).bits == 0x3f80);
  CHECK(to_float({0x3f80}) == 1.0f);
  CHECK(to_bf16(1.0f + 0x1p-8f).bits == 0x3f80);                // halfway, to even
  CHECK(to_bf16(1.0f + 0x1p-8f + 0x1p-20f).bits == 0x3f81);
  CHECK(to_bf16(1.0f + 3 * 0x1p-8f).bits == 0x3f82);            // halfway, to even
  CHECK(to_bf16(-1.0f - 0x1p-7f).bits == 0xbf81);
  CHECK(to_bf16(3.4e38f).bits == 0x7f80);                       // rounds to infinity
  CHECK(to_bf16(__builtin_inff()).bits == 0x7f80);
  CHECK((to_bf16(__builtin_nanf("")).bits & 0x7fff) > 0x7f80);
  CHECK(to_bf16(0x1p-133f).bits == 1);                          // the least subnormal
}

TEST_CASE("bf16: gemm on every instruction set and by the CUDA kernels") {
  Random random(5);
  double worst[2] = {};
  Served served;
  std::int64_t rows = 0;
  using Size = std::array<std::int64_t, 4>;
  for (Size z : {Size{1, 1, 1, 1}, Size{1, 8, 8, 8}, Size{2, 7, 13, 5}, Size{1, 128, 128, 32}, Size{1, 136, 120, 104}, Size{1, 16, 264, 8}, Size{1, 33, 65, 17}, Size{1, 24, 37, 40}, Size{3, 8, 16, 0}, Size{0, 8, 8, 8}})
    for (int mode = 0; mode < 16; ++mode) {
      const Problem p{z[0], z[1], z[2], z[3], (mode & 1) != 0, (mode & 2) != 0, mode & 4 ? Write::add : Write::overwrite, mode & 8 ? DType::bf16 : DType::f32};
      CAPTURE(mode);
      CAPTURE(p.M);
      double& w = worst[mode >> 3];
      w = std::max(w, mode & 8 ? check_gemm<Bf16>(p, random, served) : check_gemm<float>(p, random, served));
      ++rows;
    }
  if (reference::counted()) CHECK(served.tensor_cores == 2 * (4 * 16 + 8 - 2 * 4) * std::ssize(ways));  // of 37 columns those whose lines run along K; no sums of 8 terms of operands that lie plainly
  MESSAGE(rows << " rows; worst error " << worst[0] << " into float, " << worst[1] << " into bf16");
}

TEST_CASE("gemm: a few rows over a long sum, in chains") {  // the gradient of a router's weights
  Random random(6);
  Served served;
  using Size = std::array<std::int64_t, 3>;
  for (Size z : {Size{1, 5, 257}, Size{4, 40, 600}, Size{7, 513, 513}, Size{16, 24, 1030}, Size{3, 8, 16401}})
    for (Write write : {Write::overwrite, Write::add}) {
      CAPTURE(z[2]);
      check_gemm<float>({1, z[0], z[1], z[2], true, false, write, DType::f32}, random, served);
      check_gemm<Bf16>({1, z[0], z[1], z[2], true, false, write, DType::bf16}, random, served);
      // In fp32, from lines that are longer than they need be.
      std::vector<float> A(static_cast<std::size_t>(z[2] * (z[0] + 1))), B(static_cast<std::size_t>(z[2] * (z[1] + 2))), C(static_cast<std::size_t>(z[0] * (z[1] + 3)));
      for (auto* x : {&A, &B, &C})
        for (float& v : *x) v = static_cast<float>(math::normal(random));
      std::vector<float> c, first;
      auto compute = [&] {
        GemmArgs a;
        a.write = write, a.transpose_a = true;
        a.M = z[0], a.N = z[1], a.K = z[2];
        c = C;
        a.A = A.data(), a.lda = z[0] + 1, a.B = B.data(), a.ldb = z[1] + 2, a.C = c.data(), a.ldc = z[1] + 3;
        kernel::gemm(a);
      };
      std::vector<double> wanted(C.begin(), C.end());  // what lies between the lines stays
      for (std::int64_t i = 0; i < z[0]; ++i)
        for (std::int64_t j = 0; j < z[1]; ++j) {
          double& sum = wanted[static_cast<std::size_t>(i * (z[1] + 3) + j)];
          if (write == Write::overwrite) sum = 0;
          for (std::int64_t k = 0; k < z[2]; ++k) sum += double{A[static_cast<std::size_t>(k * (z[0] + 1) + i)]} * double{B[static_cast<std::size_t>(k * (z[1] + 2) + j)]};
        }
      reference::emulated("mma", [&] {
        compute();
        CHECK(reference::error_of(c, wanted) < 1e-6);
        if (first.empty()) first = c;
        CHECK(reference::same_bits(c, first));
      });
    }
  if (reference::counted()) CHECK(served.tensor_cores == 0);
}

namespace {

// Buffers of one row, held in F32 and in BF16: filled with the same numbers, which both can hold.
struct Both {
  std::vector<float> wide;
  std::vector<Bf16> narrow;
  explicit Both(std::int64_t n, Random& random, double std = 1) : wide(static_cast<std::size_t>(n) + 1), narrow(wide.size()) {
    for (std::size_t i = 0; i < wide.size(); ++i) wide[i] = to_float(narrow[i] = to_bf16(static_cast<float>(std * math::normal(random))));
  }
  void* of(DType d) { return d == DType::bf16 ? static_cast<void*>(narrow.data()) : wide.data(); }
};

bool on_fast_kernels() {
  const char* path = std::getenv("BAM_CUDA_PATH");
  return path && std::string_view(path) == "mma";
}

// launch(dtype) of a row reads and writes buffers of that type: what it writes in BF16 is, to the bit, what it writes in F32, rounded; the same everywhere. Both are put back.
template <class F>
void check_rounded(const char* name, std::vector<Both*> written, F launch) {
  CAPTURE(name);
  std::vector<Both> before;
  for (Both* b : written) before.push_back(*b);
  auto put_back = [&] {
    for (std::size_t i = 0; i < written.size(); ++i) *written[i] = before[i];
  };
  launch(DType::f32);
  std::vector<std::vector<Bf16>> wanted;
  for (Both* b : written) {
    wanted.emplace_back();
    for (float x : b->wide) wanted.back().push_back(to_bf16(x));
  }
  reference::everywhere([&] {
    put_back();
    launch(DType::bf16);
    for (std::size_t i = 0; i < written.size(); ++i) {
      CHECK(std::memcmp(written[i]->narrow.data(), wanted[i].data(), wanted[i].size() * sizeof(Bf16)) == 0);
      CHECK(reference::same_bits(written[i]->wide, before[i].wide));
    }
  });
  // The fast kernels: as near as bf16 tells, and the same in all orders.
  std::vector<std::vector<Bf16>> first;
  reference::emulated("mma", [&] {
    put_back();
    launch(DType::bf16);
    std::vector<std::vector<Bf16>> got;
    for (std::size_t i = 0; i < written.size(); ++i) {
      got.push_back(written[i]->narrow);
      std::vector<double> expected, found;
      for (std::size_t j = 0; j < wanted[i].size(); ++j) {
        expected.push_back(number(wanted[i][j]));
        found.push_back(number(got[i][j]));
      }
      CHECK(reference::error_of(found, expected) < 0x1p-8);
    }
    if (first.empty()) first = got;
    for (std::size_t i = 0; i < got.size(); ++i) CHECK(std::memcmp(got[i].data(), first[i].data(), got[i].size() * sizeof(Bf16)) == 0);
  });
  put_back();
}

}  // namespace

TEST_CASE("rows in bf16 load, compute in float and round once: the bits of the fp32 row, rounded") {
  Random random(12);
  for (auto size : {std::pair<std::int64_t, std::int64_t>{0, 4}, {1, 1}, {3, 7}, {5, 16}, {2, 264}, {2, 33}, {67, 50}})
    for (Write write : {Write::overwrite, Write::add}) {
      const std::int64_t n = size.first, c = size.second;
      CAPTURE(n);
      CAPTURE(c);
      CAPTURE(static_cast<int>(write));
      Both x(n * 2 * c, random, 2), y(n * 2 * c, random), dy(n * c, random), dx(n * 2 * c, random);
      const std::vector<float> w = reference::floats(randn({c}, random)), scale = reference::floats(randn({n}, random));
      std::vector<float> mean(static_cast<std::size_t>(n) + 1), rstd = mean, dscale = mean, lse = mean, nll = mean, dnll = reference::floats(randn({n + 1}, random));

      NormArgs norm;
      norm.rows = n, norm.columns = c, norm.x = x.wide.data(), norm.w = w.data(), norm.mean = mean.data(), norm.rstd = rstd.data();
      if (write == Write::overwrite)
        for (bool rms : {false, true})
          check_rounded("norm_forward", {&y}, [&](DType d) {
            norm.rms = rms, norm.out = d, norm.y = y.of(d);
            kernel::norm_forward(norm);
          });

      SwigluArgs swiglu;
      swiglu.write = write, swiglu.rows = n, swiglu.columns = c, swiglu.x_row = swiglu.dx_row = 2 * c, swiglu.y_row = swiglu.dy_row = c, swiglu.scale = scale.data();
      check_rounded("swiglu_forward", {&y}, [&](DType d) {
        swiglu.dtype = d, swiglu.x = x.of(d), swiglu.y = y.of(d);
        kernel::swiglu_forward(swiglu);
      });
      swiglu.dscale = dscale.data();
      std::vector<float> of_scale;
      check_rounded("swiglu_backward", {&dx}, [&](DType d) {
        swiglu.dtype = d, swiglu.x = x.of(d), swiglu.dy = dy.of(d), swiglu.dx = dx.of(d);
        kernel::swiglu_backward(swiglu);
        if (of_scale.empty()) of_scale = dscale;
        if (on_fast_kernels()) CHECK(reference::error_of(dscale, std::vector<double>(of_scale.begin(), of_scale.end())) < 1e-6);
        else CHECK(reference::same_bits(dscale, of_scale));  // it is of F32 in both
      });

      std::vector<std::int64_t> index;
      for (std::int64_t i = 0; i < 2 * n; ++i) index.push_back(random.below(5) == 0 ? -1 : static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(n))));
      GatherArgs gather;
      gather.write = write, gather.rows = n, gather.columns = gather.x_row = gather.y_row = c, gather.terms = 2, gather.index = index.data();
      check_rounded("gather", {&y}, [&](DType d) {
        gather.dtype = gather.out = d, gather.x = x.of(d), gather.y = y.of(d);
        kernel::gather(gather);
      });

      std::vector<std::int32_t> target;
      for (std::int64_t i = 0; i < n; ++i) target.push_back(i % 4 == 3 ? -1 : static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(c))));
      CrossEntropyArgs loss;
      loss.write = write, loss.rows = n, loss.columns = loss.x_row = loss.dx_row = c, loss.scale = 0.5f, loss.x = x.wide.data(), loss.target = target.data(), loss.nll = nll.data(), loss.lse = lse.data(), loss.dnll = dnll.data();
      kernel::cross_entropy_forward(loss);
      check_rounded("cross_entropy_backward", {&dx}, [&](DType d) {
        loss.out = d, loss.dx = dx.of(d);
        kernel::cross_entropy_backward(loss);
      });

      CastArgs cast;
      cast.write = write, cast.n = n * c;
      for (DType from : {DType::f32, DType::bf16})
        check_rounded("cast", {&y}, [&](DType d) {
          cast.from = from, cast.to = d, cast.x = x.of(from), cast.y = y.of(d);
          kernel::cast(cast);
        });
    }
  for (std::int64_t d : {2, 6, 16, 30, 64})
    for (bool half : {false, true})
      for (bool inverse : {false, true}) {
        CAPTURE(d);
        const std::int64_t n = 5, heads = 3;
        Both x(n * heads * d, random), y(n * heads * d, random);
        const Tensor table = rope_table(20, d, 10000);
        const std::vector<std::int32_t> positions = reference::below(n, 20, random);
        RopeArgs rope;
        rope.rotate_half = half, rope.inverse = inverse, rope.rows = n, rope.heads = heads, rope.head_dim = d, rope.x_row = rope.y_row = heads * d, rope.positions = positions.data(), rope.table = table.data();
        check_rounded("rope", {&y}, [&](DType t) {
          rope.dtype = t, rope.x = x.of(t), rope.y = y.of(t);
          kernel::rope(rope);
        });
        check_rounded("rope in place", {&x}, [&](DType t) {
          rope.dtype = t, rope.x = x.of(t), rope.y = x.of(t);
          kernel::rope(rope);
        });
      }
}

}  // namespace bam::bf16_test
