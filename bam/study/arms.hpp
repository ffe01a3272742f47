// The arms of the BAM study (docs/method.md, 1.4) and its configuration.
#pragma once
#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "../io/file.hpp"
#include "../io/toml.hpp"
#include "../nn/config.hpp"
#include "../nn/estimate.hpp"
#include "../upcycle/upcycle.hpp"

namespace bam::study {

enum class ArmKind {
  mixture,  // upcycled from seed and specialists
  copies,   // upcycled from the seed alone: gets the branch phase's tokens too
  dense,    // the seed, trained on: likewise
  ensemble, // the dense models together, weighted by how well they predicted the text so far; no training
  average,  // the mean of the dense models' weights; no training
};
struct Arm {
  const char* name;
  ArmKind kind;
  const char* method;  // of upcycling
  std::int64_t top_k = 1, extra = 0;
  AttentionRouting routing = AttentionRouting::soft;
  bool sequential = false;
};
inline constexpr Arm arms[] = {
    {"bam", ArmKind::mixture, "bam"},
    {"bam-shared-kv", ArmKind::mixture, "bam-shared-kv"},
    {"bam-top1", ArmKind::mixture, "bam", 1, 0, AttentionRouting::top1},
    {"bam-top2", ArmKind::mixture, "bam", 1, 0, AttentionRouting::top2},
    {"btx", ArmKind::mixture, "btx"},
    {"btx-top2", ArmKind::mixture, "btx", 2},
    {"btx-soft", ArmKind::mixture, "btx", 4},
    {"btx-5", ArmKind::mixture, "btx", 1, 1},
    {"btx-6", ArmKind::mixture, "btx", 1, 2},
    {"btx-7", ArmKind::mixture, "btx", 1, 3},
    {"btx-8", ArmKind::mixture, "btx", 1, 4},
    {"btx-6-top3", ArmKind::mixture, "btx", 3, 2},
    {"dense", ArmKind::dense, ""},
    {"sparse", ArmKind::copies, "sparse"},
    {"drop", ArmKind::copies, "drop"},
    {"btm", ArmKind::ensemble, ""},
    {"btm-average", ArmKind::average, ""},
    {"bam-sequential", ArmKind::mixture, "bam", 1, 0, AttentionRouting::soft, true},
};
inline const Arm* find_arm(std::string_view name) {
  for (const Arm& a : arms)
    if (name == a.name) return &a;
  return nullptr;
}

inline constexpr const char* domains[] = {"general", "code", "law", "math"};

struct Size {
  std::string name;
  std::int64_t hidden = 128, ffn = 352, layers = 4, heads = 4, kv_heads = 4;

  auto shape() const { return std::tie(hidden, ffn, layers, heads, kv_heads); }
  ModelConfig dense(std::int64_t vocab, std::int64_t context) const {
    ModelConfig c;
    c.vocab_size = vocab;
    c.hidden_size = hidden;
    c.intermediate_size = ffn;
    c.num_hidden_layers = layers;
    c.num_attention_heads = heads;
    c.num_key_value_heads = kv_heads;
    c.head_dim = hidden / heads;
    c.max_position_embeddings = context;
    return c;
  }
};

// The keys of a [[size]] that say its shape.
inline void read_size(io::TomlReader& s, const std::string& where, Size& size) {
  s.read_name("name", size.name);
  s.read("hidden", size.hidden, 1, 1 << 20);
  s.read("ffn", size.ffn, 1, 1 << 20);
  s.read("layers", size.layers, 1, 1 << 16);
  s.read("heads", size.heads, 1, 1 << 16);
  size.kv_heads = size.heads;
  s.read("kv_heads", size.kv_heads, 1, 1 << 16);
  if (size.name.empty()) s.missing("name", "a word for its runs and tables");
  if (size.hidden % size.heads || (size.hidden / size.heads) % 2 || size.heads % size.kv_heads)
    fail(ErrorKind::input, "study.size", where, ": size ", printable(size.name, 60), ": wanted heads that divide hidden into even widths, and kv_heads that divide heads");
}

struct StudyConfig {
  std::vector<Size> sizes;
  std::vector<const Arm*> arms, once;  // once: of the first replicate alone
  bool compute_matched = false;  // every trained arm again, at the FLOPs of BTX
  std::int64_t vocab_size = 1024, context = 256, batch = 16, micro_batch = 8;
  std::int64_t seed_tokens = 0, expert_tokens = 0, mixture_tokens = 0;
  std::int64_t replicates = 1;     // each redraws everything
  std::int64_t mixture_seeds = 1;  // further draws of routers and mixture data within one replicate
  std::int64_t documents = 4000;   // of the generated corpus, per domain
  std::int64_t eval_documents = 0; // of each validation set; 0: all
  std::int64_t completions = 4;    // prompts of each domain of the generated corpus that the first draw's models go on from
  std::int64_t choice_items = 100;  // of each set in DATA/DOMAIN/eval, evenly spaced; 0: all
  std::uint64_t seed = 1;
  double seed_lr = 3e-3, expert_lr = 1.5e-3, mixture_lr = 1.5e-3;
  // Each trained arm tries mixture_lr times these for sweep_tokens, in the first replicate, and keeps the best of them in all.
  std::vector<double> sweep;
  std::int64_t sweep_tokens = 0;

  // Of a replicate, in the order of the table of arms.
  std::vector<const Arm*> arms_of(std::int64_t replicate) const {
    std::vector<const Arm*> list = arms;
    if (replicate == 1) list.insert(list.end(), once.begin(), once.end());
    std::sort(list.begin(), list.end());
    return list;
  }
  std::int64_t steps(std::int64_t tokens) const { return std::max<std::int64_t>(2, tokens / (batch * context)); }
};

inline UpcycleOptions upcycle_options(const Arm& arm, std::uint64_t router_seed) {
  UpcycleOptions o;
  if (*arm.method) o.method = upcycle_method(arm.method);
  o.top_k = arm.top_k;
  o.extra_seed_experts = arm.extra;
  o.attention_routing = arm.routing;
  o.sequential = arm.sequential;
  o.router_seed = router_seed;
  return o;
}
// The arm's model, from that of the seed.
inline ModelConfig arm_config(const Arm& arm, const ModelConfig& seed) {
  if (arm.kind == ArmKind::mixture) return upcycled_config(seed, 4, upcycle_options(arm, 0));
  return arm.kind == ArmKind::copies ? upcycled_config(seed, 1, upcycle_options(arm, 0)) : seed;
}

// The demo: at most ten minutes on two slow cores.
inline constexpr const char* demo_study = R"([study]
arms = ["bam", "bam-shared-kv", "btx", "dense", "btm"]
mixture_seeds = 2
seed_tokens = 1_000_000
expert_tokens = 400_000
mixture_tokens = 400_000
documents = 2500
eval_documents = 60
[[size]]
name = "d128"
)";

// A size's name is that of its runs.
template <class S>
void check_named_once(const std::vector<S>& sizes, const S& size, const std::string& where) {
  for (const S& other : sizes)
    if (other.name == size.name) fail(ErrorKind::input, "study.size", where, ": there are two sizes ", printable(size.name, 60), "; give each a name of its own");
}

inline StudyConfig parse_study(const std::string& text, const std::string& file, const std::vector<std::string>& set = {}) {
  StudyConfig c;
  std::string where = printable(file, 4096);
  toml::table root = io::parse_toml(text, file);
  for (const std::string& s : set) io::apply_set(root, s);
  io::TomlReader top(root, where, "");
  const toml::table* study = top.table("study");
  if (!study) top.missing("study", "a table: add [study]");
  io::TomlReader r(*study, where, "study.");
  const std::int64_t many = std::int64_t{1} << 40;
  std::vector<std::string> known, names, once;
  for (const Arm& a : arms) known.push_back(a.name);
  auto find_arms = [&](const char* key, const std::vector<std::string>& wanted) {
    std::vector<const Arm*> found;
    for (const std::string& name : wanted) {
      const Arm* arm = find_arm(name);
      std::string near = nearest(name, known);
      if (!arm) fail(ErrorKind::input, "study.arm", where, ": study.", key, ": there is no arm '", printable(name, 60), "'", near.empty() ? "" : "; did you mean " + near + "?");
      if (std::count(names.begin(), names.end(), name) + std::count(once.begin(), once.end(), name) > 1)
        fail(ErrorKind::input, "study.arm", where, ": study.", key, ": the arm '", name, "' is named twice; it belongs in arms or in once");
      found.push_back(arm);
    }
    return found;
  };
  r.read("once", once);
  for (const std::string& name : known)
    if (std::find(once.begin(), once.end(), name) == once.end()) names.push_back(name);
  r.read("arms", names);
  c.arms = find_arms("arms", names);
  c.once = find_arms("once", once);
  r.read("compute_matched", c.compute_matched);
  r.read("vocab_size", c.vocab_size, 259, 1 << 24);
  r.read("context", c.context, 2, 1 << 20);
  r.read("batch", c.batch, 1, 1 << 20);
  r.read("micro_batch", c.micro_batch, 1, 1 << 20);
  for (auto [key, value] : {std::pair<const char*, std::int64_t*>{"seed_tokens", &c.seed_tokens}, {"expert_tokens", &c.expert_tokens}, {"mixture_tokens", &c.mixture_tokens}}) {
    r.read(key, *value, 1, many);
    if (*value == 0) r.missing(key, "tokens of that phase");
  }
  r.read("replicates", c.replicates, 1, 1000);
  r.read("mixture_seeds", c.mixture_seeds, 1, 9);
  r.read("documents", c.documents, 10, 10'000'000);
  r.read("eval_documents", c.eval_documents, 0, many);
  r.read("completions", c.completions, 0, 1000);
  r.read("choice_items", c.choice_items, 0, many);
  r.read("seed", c.seed, 0, INT64_MAX / 2);  // replicates and arms have seeds above it
  r.read("seed_lr", c.seed_lr, 0, 100);
  r.read("expert_lr", c.expert_lr, 0, 100);
  r.read("mixture_lr", c.mixture_lr, 0, 100);
  r.read("sweep", c.sweep, 1e-3, 100);
  r.read("sweep_tokens", c.sweep_tokens, 0, many);
  if (!c.sweep.empty() && c.sweep_tokens == 0) r.missing("sweep_tokens", "tokens of each trial of the sweep");
  r.finish();
  for (const toml::table* t : top.tables("size")) {
    io::TomlReader s(*t, where, "size.");
    Size size;
    read_size(s, where, size);
    s.finish();
    check_named_once(c.sizes, size, where);
    c.sizes.push_back(size);
  }
  if (c.sizes.empty()) top.missing("size", "at least one [[size]]");
  top.finish();
  return c;
}

}  // namespace bam::study
