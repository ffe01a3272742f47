// Upcycling: where every tensor of a mixture comes from, method by method, and the identity law.
#include "bam/upcycle/upcycle.hpp"

#include <cstring>
#include <map>

#include "bam/nn/shapes.hpp"
#include "support.hpp"

namespace bam::upcycle_test {

using test::error_of;
using test::has;

namespace {

constexpr std::int64_t vocab = 40, width = 32, hidden_units = 24, layers = 2;

ModelConfig dense_config(bool tied = false, bool parallel = true) {
  ModelConfig c;
  c.vocab_size = vocab;
  c.hidden_size = width;
  c.intermediate_size = hidden_units;
  c.num_hidden_layers = layers;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 8;
  c.tie_word_embeddings = tied;
  c.parallel_block = parallel;
  return c;
}

// Random weights, norms included.
Decoder dense(std::uint64_t seed, const ModelConfig& c) {
  Decoder d(c);
  d.initialize(seed, 0.2);
  Random random(seed, 999);
  for (Parameter& p : d.parameters())
    if (p.vector) {
      std::vector<float> v(static_cast<std::size_t>(p.numel()));
      for (float& x : v) x = static_cast<float>(1 + 0.1 * math::normal(random));
      p.write(v.data());
    }
  return d;
}

using Values = std::map<std::string, std::vector<float>>;
Values values_of(const Decoder& d) {
  Values all;
  for (const Parameter& p : d.parameters()) {
    std::vector<float>& v = all[p.name];
    v.resize(static_cast<std::size_t>(p.numel()));
    p.read(v.data());
  }
  return all;
}
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) { return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * 4) == 0; }

struct Parents {
  std::vector<Decoder> models;
  std::vector<const Decoder*> pointers;
  std::vector<Values> values;
  explicit Parents(std::size_t n, const ModelConfig& c = dense_config()) {
    for (std::size_t i = 0; i < n; ++i) models.push_back(dense(11 + i, c));
    for (const Decoder& d : models) {
      pointers.push_back(&d);
      values.push_back(values_of(d));
    }
  }
};

void shapes_are_those_of_the_config(const Decoder& mixture) {
  std::map<std::string, std::vector<std::int64_t>> wanted, got;
  for (const TensorShape& t : tensor_shapes(mixture.config())) wanted[t.name] = t.shape;
  for (const Parameter& p : mixture.parameters()) got[p.name] = p.shape();
  CHECK(wanted == got);
}

void mean_of(const std::vector<float>& got, const std::vector<Values>& parents, const std::string& name) {
  CAPTURE(name);
  std::size_t differ = 0;
  double worst = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    double total = 0;
    for (const Values& v : parents) total += static_cast<double>(v.at(name)[i]);
    double mean = total / static_cast<double>(parents.size());
    worst = std::max(worst, std::abs(static_cast<double>(got[i]) - mean));
    differ += got[i] != static_cast<float>(mean);
  }
  CHECK(worst <= 1e-6);
  CHECK(differ == 0);  // rounded once
}

// Splits "a.experts.2.b" into "a.b" and 2.
bool expert_name(const std::string& name, std::string& source, std::size_t& expert) {
  auto at = name.find(".experts.");
  if (at == name.npos) return false;
  std::size_t digits = 0;
  expert = std::stoull(name.substr(at + 9), &digits);
  source = name.substr(0, at) + name.substr(at + 9 + digits);
  return true;
}

// Checks every tensor against the parents; returns how many there are of each kind.
struct Tally {
  int experts = 0, means = 0, routers = 0;
};
Tally check_all(const Decoder& mixture, const Parents& parents, const UpcycleOptions& o) {
  Tally tally;
  bool sparse = o.method == UpcycleMethod::sparse || o.method == UpcycleMethod::drop;
  for (auto& entry : values_of(mixture)) {
    const std::string& name = entry.first;
    const std::vector<float>& v = entry.second;
    CAPTURE(name);
    std::string source;
    std::size_t expert = 0;
    if (name.find(".router.") != name.npos) {
      ++tally.routers;
      double square = 0, sum = 0;
      for (float x : v) {
        sum += static_cast<double>(x);
        square += static_cast<double>(x) * static_cast<double>(x);
      }
      double n = static_cast<double>(v.size()), deviation = std::sqrt(square / n);
      CHECK(std::abs(sum / n) < 0.02 * 4 / std::sqrt(n));
      CHECK(deviation == doctest::Approx(0.02).epsilon(4 / std::sqrt(2 * n)));
    } else if (expert_name(name, source, expert)) {
      ++tally.experts;
      std::size_t parent = sparse || expert >= parents.models.size() ? 0 : expert;
      if (o.method != UpcycleMethod::drop) CHECK(same_bits(v, parents.values[parent].at(source)));
    } else {
      ++tally.means;
      mean_of(v, parents.values, name);
    }
  }
  return tally;
}

UpcycleOptions options(UpcycleMethod method, std::uint64_t seed = 5) {
  UpcycleOptions o;
  o.method = method;
  o.router_seed = seed;
  return o;
}

}  // namespace

TEST_CASE("upcycle: bam with own keys and values") {
  Parents parents(4);
  UpcycleOptions o = options(UpcycleMethod::bam);
  o.top_k = 2;
  std::vector<Provenance> report;
  Decoder m = upcycle(parents.pointers, o, &report);
  CHECK(m.config().family == Family::bam);
  CHECK(m.config().num_experts == 4);
  CHECK(m.config().num_experts_per_tok == 2);
  CHECK(m.config().num_attention_experts == 4);
  CHECK_FALSE(m.config().share_kv);
  shapes_are_those_of_the_config(m);
  Tally t = check_all(m, parents, o);
  CHECK(t.experts == layers * 4 * (4 + 3));
  CHECK(t.routers == layers * 2);
  CHECK(t.means == layers + 3);  // norms, final norm, embedding, head
  // The report says the same.
  REQUIRE(report.size() == m.parameters().size());
  for (const Provenance& p : report) {
    CAPTURE(p.name);
    std::string source;
    std::size_t expert = 0;
    if (p.name.find(".router.") != p.name.npos) {
      CHECK(p.rule == "random");
      CHECK(p.parents.empty());
    } else if (expert_name(p.name, source, expert)) {
      CHECK(p.rule == "copy");
      CHECK(p.source == source);
      CHECK(p.parents == std::vector<std::int64_t>{static_cast<std::int64_t>(expert)});
    } else {
      CHECK(p.rule == "mean");
      CHECK(p.parents == std::vector<std::int64_t>{0, 1, 2, 3});
    }
  }
}

TEST_CASE("upcycle: bam with shared keys and values, a sequential block and a tied head") {
  Parents parents(4, dense_config(true, false));
  UpcycleOptions o = options(UpcycleMethod::bam_shared_kv);
  o.attention_routing = AttentionRouting::top2;
  Decoder m = upcycle(parents.pointers, o);
  CHECK(m.config().share_kv);
  CHECK(m.config().attention_routing == AttentionRouting::top2);
  CHECK(m.config().tie_word_embeddings);
  shapes_are_those_of_the_config(m);
  Tally t = check_all(m, parents, o);
  CHECK(t.experts == layers * 4 * (2 + 3));
  CHECK(t.means == layers * (2 + 2) + 2);  // k, v, two norms; final norm, embedding
  CHECK(values_of(m).contains("model.layers.1.self_attn.k_proj.weight"));
  o.sequential = true;  // as the parents are: their second norm is kept
  CHECK(check_all(upcycle(parents.pointers, o), parents, o).means == t.means);
}

TEST_CASE("upcycle: btx, and further experts that are the seed's") {
  Parents parents(4);
  for (std::int64_t extra : {0, 3}) {
    UpcycleOptions o = options(UpcycleMethod::btx);
    o.extra_seed_experts = extra;
    o.attention_routing = AttentionRouting::top2;  // means nothing to one attention
    Decoder m = upcycle(parents.pointers, o);
    CHECK(m.config().num_experts == 4 + extra);
    CHECK(m.config().num_attention_experts == 1);
    CHECK(m.config().attention_routing == AttentionRouting::soft);
    shapes_are_those_of_the_config(m);
    Tally t = check_all(m, parents, o);
    CHECK(t.experts == layers * (4 + extra) * 3);
    CHECK(t.routers == layers);
    CHECK(t.means == layers * 5 + 3);
  }
  // A third is no power of two: a mean that is rounded twice shows.
  Parents three(3);
  check_all(upcycle(three.pointers, options(UpcycleMethod::btx)), three, options(UpcycleMethod::btx));
  UpcycleOptions o = options(UpcycleMethod::bam);
  o.extra_seed_experts = 1;
  Decoder m = upcycle(parents.pointers, o);
  CHECK(m.config().num_experts == 5);
  CHECK(m.config().num_attention_experts == 4);
  CHECK(check_all(m, parents, o).experts == layers * (4 * 4 + 5 * 3));
}

TEST_CASE("upcycle: sparse and drop") {
  Parents parents(1);
  UpcycleOptions o = options(UpcycleMethod::sparse);
  o.num_experts = 3;
  o.top_k = 2;
  Decoder sparse = upcycle(parents.pointers, o);
  CHECK(sparse.config().num_experts == 3);
  CHECK(sparse.config().num_attention_experts == 1);
  shapes_are_those_of_the_config(sparse);
  CHECK(check_all(sparse, parents, o).experts == layers * 9);

  o.method = UpcycleMethod::drop;
  Decoder drop = upcycle(parents.pointers, o);
  shapes_are_those_of_the_config(drop);
  check_all(drop, parents, o);
  Values all = values_of(drop);
  std::vector<std::vector<bool>> choices;
  for (int layer = 0; layer < layers; ++layer)
    for (int expert = 0; expert < 3; ++expert) {
      std::string seed = str("model.layers.", layer, ".mlp."), mine = str(seed, "experts.", expert, ".");
      CAPTURE(mine);
      std::vector<bool> redrawn;
      for (const char* name : {"gate_proj.weight", "up_proj.weight", "down_proj.weight"}) {
        const std::vector<float>&was = parents.values[0].at(seed + name), &is = all.at(mine + name);
        bool down = std::string(name).starts_with("down");
        std::vector<bool> changed;
        double square = 0;
        for (std::size_t u = 0; u < hidden_units; ++u) {
          std::size_t differ = 0;
          for (std::size_t k = 0; k < width; ++k) {
            std::size_t i = down ? k * hidden_units + u : u * width + k;
            differ += is[i] != was[i];
            if (is[i] != was[i]) square += static_cast<double>(is[i]) * static_cast<double>(is[i]);
          }
          CHECK((differ == 0 || differ == width));  // a unit is whole
          changed.push_back(differ != 0);
        }
        CHECK(std::count(changed.begin(), changed.end(), true) == hidden_units / 2);
        if (redrawn.empty()) redrawn = changed;
        CHECK(changed == redrawn);  // the same units in all three
        CHECK(std::sqrt(square / (hidden_units / 2 * width)) == doctest::Approx(0.2).epsilon(0.2));  // the deviation of the matrix
      }
      for (auto& other : choices) CHECK(redrawn != other);
      choices.push_back(redrawn);
    }
  CHECK(all.at("model.layers.0.mlp.experts.0.gate_proj.weight") != all.at("model.layers.0.mlp.experts.0.up_proj.weight"));
}

TEST_CASE("upcycle: routers come from the recorded seed and nothing else") {
  Parents parents(4), one(1);
  for (UpcycleMethod method : {UpcycleMethod::bam, UpcycleMethod::bam_shared_kv, UpcycleMethod::btx, UpcycleMethod::sparse, UpcycleMethod::drop}) {
    bool copies = method == UpcycleMethod::sparse || method == UpcycleMethod::drop;
    auto& from = copies ? one.pointers : parents.pointers;
    Values a = values_of(upcycle(from, options(method, 5))), b = values_of(upcycle(from, options(method, 5))), c = values_of(upcycle(from, options(method, 6)));
    std::vector<std::vector<float>> routers;
    for (auto& entry : a) {
      const std::string& name = entry.first;
      const std::vector<float>& v = entry.second;
      CAPTURE(name);
      CHECK(same_bits(v, b.at(name)));
      bool router = name.find(".router.") != name.npos, redrawn = method == UpcycleMethod::drop && name.find(".experts.") != name.npos;
      CHECK(same_bits(v, c.at(name)) == !(router || redrawn));
      if (router) routers.push_back(v);
    }
    for (std::size_t i = 0; i < routers.size(); ++i)
      for (std::size_t k = 0; k < i; ++k) CHECK(routers[i][0] != routers[k][0]);  // streams of their own
  }
}

TEST_CASE("upcycle: copies of one model are that model") {
  for (bool parallel : {true, false}) {
    Decoder seed = dense(21, dense_config(false, parallel));
    for (UpcycleMethod method : {UpcycleMethod::bam, UpcycleMethod::bam_shared_kv, UpcycleMethod::btx, UpcycleMethod::sparse, UpcycleMethod::drop}) {
      UpcycleOptions o = options(method);
      CAPTURE(static_cast<int>(method));
      CHECK(upcycle_identity(seed, 4, o) <= 1e-6);
    }
    // Attention alone: without an FFN all that differs from the embedding is the attention's output.
    for (Parameter& p : seed.parameters())
      if (p.name.find("down_proj") != p.name.npos) {
        std::vector<float> zero(static_cast<std::size_t>(p.numel()));
        p.write(zero.data());
      }
    std::vector<std::int32_t> ids, positions;
    for (std::int32_t i = 0; i < 24; ++i) {
      ids.push_back(i * 7 % static_cast<std::int32_t>(vocab));
      positions.push_back(i);
    }
    TokenBatch batch{tensor(ids), tensor(positions), segments({24}), {}};
    Tensor wanted = seed.hidden(batch).states;
    for (UpcycleMethod method : {UpcycleMethod::bam, UpcycleMethod::bam_shared_kv}) {
      Decoder m = upcycle({&seed, &seed, &seed, &seed}, options(method, 9));
      Hidden got = m.hidden(batch);
      double worst = 0;
      for (std::int64_t i = 0; i < wanted.numel(); ++i)
        worst = std::max(worst, std::abs(static_cast<double>(got.states.data()[i]) - static_cast<double>(wanted.data()[i])));
      CHECK(worst <= 2e-6);  // of values of about 1
      for (const Tensor& gates : got.attention_gates) CHECK(std::abs(gates.data()[0] - 0.25f) > 1e-4f);  // the gates are not all alike
    }
  }
  // The measure sees a difference: experts that are not copies.
  Parents parents(4);
  Decoder m = upcycle(parents.pointers, options(UpcycleMethod::bam));
  std::vector<std::int32_t> ids{1, 2, 3}, positions{0, 1, 2};
  TokenBatch batch{tensor(ids), tensor(positions), segments({3}), {}};
  Tensor a = m.logits(m.hidden(batch)), b = parents.models[0].logits(parents.models[0].hidden(batch));
  CHECK(std::abs(a.data()[0] - b.data()[0]) > 1e-3f);
}

TEST_CASE("upcycle: what cannot be mixed is refused") {
  Parents parents(3);
  auto refused = [](std::vector<const Decoder*> from, const UpcycleOptions& o, ErrorKind kind = ErrorKind::usage) {
    return error_of(kind, [&] { upcycle(from, o); });
  };
  auto with = [](UpcycleMethod method, auto change) {
    UpcycleOptions o = options(method);
    change(o);
    return o;
  };
  CHECK(has(refused({}, options(UpcycleMethod::bam)), "upcycle.parents"));
  CHECK(has(refused({parents.pointers[0]}, options(UpcycleMethod::bam)), "upcycle.parents"));
  CHECK(has(refused(parents.pointers, options(UpcycleMethod::sparse)), "upcycle.parents: upcycle: sparse and drop start from the seed alone, got 2 experts"));
  CHECK(has(refused(parents.pointers, with(UpcycleMethod::btx, [](auto& o) { o.top_k = 4; })), "upcycle.top_k: upcycle: top_k is 4 of 3 experts"));
  CHECK(has(refused(parents.pointers, with(UpcycleMethod::btx, [](auto& o) { o.top_k = 0; })), "upcycle.top_k"));
  CHECK(has(refused({parents.pointers[0]}, with(UpcycleMethod::drop, [](auto& o) { o.num_experts = 1; })), "upcycle.top_k"));
  ModelConfig llama = dense_config();
  llama.family = Family::llama;
  Decoder l = dense(1, llama);
  CHECK(has(refused({&l, &l}, options(UpcycleMethod::bam), ErrorKind::input), "upcycle.family"));
  Decoder mixture = upcycle(parents.pointers, options(UpcycleMethod::bam));
  CHECK(has(refused({&mixture, &mixture}, options(UpcycleMethod::bam), ErrorKind::input), "upcycle.family"));
  ModelConfig wide = dense_config();
  wide.intermediate_size = 48;
  Decoder w = dense(1, wide), tied = dense(1, dense_config(true));
  std::string message = refused({parents.pointers[0], &w}, options(UpcycleMethod::btx), ErrorKind::input);
  CHECK(has(message, "upcycle.shape: upcycle: model 1: wanted 'model.layers.0.mlp."));
  CHECK(has(refused({parents.pointers[0], &tied}, options(UpcycleMethod::btx), ErrorKind::input),
            "upcycle.config: upcycle: model 1: tie_word_embeddings is true, the seed's is false"));
  CHECK(has(refused({&tied, parents.pointers[0]}, options(UpcycleMethod::btx), ErrorKind::input), "upcycle.config"));  // an expert's own head is not dropped
  // Equal shapes, another function.
  auto other = [&](const char* key, auto change) {
    ModelConfig c = dense_config();
    change(c);
    Decoder d = dense(1, c);
    CHECK(has(refused({parents.pointers[0], &d}, options(UpcycleMethod::bam), ErrorKind::input), str("upcycle.config: upcycle: model 1: ", key, " is ")));
  };
  other("num_attention_heads", [](auto& c) {
    c.num_attention_heads = 2;
    c.num_key_value_heads = 1;
    c.head_dim = 16;
  });
  other("rope_theta", [](auto& c) { c.rope_theta = 500000; });
  other("layer_norm_eps", [](auto& c) { c.norm_eps = 1e-6f; });
  other("logit_scale", [](auto& c) { c.logit_scale = 0.0625f; });
  other("num_hidden_layers", [](auto& c) { c.num_hidden_layers = 3; });  // its last layer would be lost
  CHECK(has(error_of(ErrorKind::usage, [] { upcycle_method("bamm"); }), "upcycle.method"));
  CHECK(upcycle_method("bam-shared-kv") == UpcycleMethod::bam_shared_kv);
}

}  // namespace bam::upcycle_test
