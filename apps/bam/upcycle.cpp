// bam upcycle: dense models to a mixture, with the provenance of each tensor and an identity check.
#include "bam/upcycle/folders.hpp"

#include "bam/nn/shapes.hpp"
#include "flags.hpp"
#include "output.hpp"
#include "verbs.hpp"

namespace bam::app {
namespace {

struct UpcycleFlags {
  std::string method = "bam", seed_model, routing = "soft";
  std::vector<std::string> experts;
  std::int64_t extra = 0, top_k = 1;
  std::optional<std::int64_t> num_experts;
  std::optional<std::uint64_t> router_seed;
  bool plan = false, norm_topk_prob = false, sequential = false;
};

void run(const Common& common, const UpcycleFlags& f) {
  UpcycleOptions o;
  o.method = upcycle_method(f.method);
  // A flag that the method has no use for would be a wish not granted.
  const bool copies = o.method == UpcycleMethod::sparse || o.method == UpcycleMethod::drop;
  if (f.num_experts && !copies) fail(ErrorKind::usage, "flag.value", "--num-experts: is for --method sparse and drop; ", f.method, " has the seed, the --experts and --extra-seed-experts");
  if (f.extra && copies) fail(ErrorKind::usage, "flag.value", "--extra-seed-experts: is for mixtures with --experts; use --num-experts with ", f.method);
  if (f.routing != "soft" && (copies || o.method == UpcycleMethod::btx)) fail(ErrorKind::usage, "flag.value", "--attention-routing ", f.routing, ": ", f.method, " has no attention experts");
  o.extra_seed_experts = f.extra;
  o.num_experts = f.num_experts.value_or(4);
  o.top_k = f.top_k;
  o.norm_topk_prob = f.norm_topk_prob;
  o.attention_routing = f.routing == "top1" ? AttentionRouting::top1 : f.routing == "top2" ? AttentionRouting::top2 : AttentionRouting::soft;
  o.sequential = f.sequential;
  o.router_seed = f.router_seed ? *f.router_seed : common.seed.value_or(0);
  std::vector<std::string> paths{io::resolve_model_folder(f.seed_model)};
  for (const std::string& e : f.experts) paths.push_back(io::resolve_model_folder(e));

  if (f.plan) {  // names and shapes need no weights
    io::ConfigFile seed = io::read_model_config(paths[0] + "/config.json");
    ModelConfig c = upcycled_config(seed.model, static_cast<std::int64_t>(paths.size()), o);
    std::vector<std::string> names;
    for (auto& t : tensor_shapes(c)) names.push_back(t.name);
    auto plan = upcycle_plan(seed.model, names, static_cast<std::int64_t>(paths.size()), o);
    if (common.json) return print_json(provenance_json(plan, o));
    Table table;
    table.add({"tensor", "rule", "parents"});
    for (auto& p : plan) {
      std::string parents;
      for (std::int64_t i : p.parents) parents += (parents.empty() ? "" : ",") + str(i);
      table.add({p.name, p.rule, parents.empty() ? "-" : parents});
    }
    return print(table.text());
  }
  if (common.out.empty()) fail(ErrorKind::usage, "flag.missing", "bam upcycle: wanted --out DIR, or --plan");
  for (const std::string& p : paths)
    if (std::error_code none; std::filesystem::equivalent(common.out, p, none))
      fail(ErrorKind::usage, "out.input", common.out, ": --out is the folder of a parent; name another");

  UpcycleReport r = upcycle_folders(paths, f.method, o, common.out, common.force, version, [&](const std::string& text) { note(common, text); });
  if (common.json) {
    io::Json j = io::Json::object();
    j.set("out", common.out);
    j.set("method", f.method);
    j.set("parameters_total", r.count.total);
    j.set("parameters_active", r.count.active);
    j.set("identity", r.identity);
    return print_json(j);
  }
  print(str(common.out, ": ", f.method, " of ", paths.size(), " models, ", grouped(r.count.total), " parameters, ", grouped(r.count.active), " active\n",
            "identity: copies of the seed, mixed softly, give its logits within ", r.identity, " (relative)\n"));
}

}  // namespace

void add_upcycle(CLI::App& app, Common& common) {
  auto f = std::make_shared<UpcycleFlags>();
  CLI::App* verb = app.add_subcommand("upcycle", "Dense models to a mixture: experts copied, the rest averaged, routers drawn");
  choice_flag(*verb, "--method", f->method, {"bam", "bam-shared-kv", "btx", "sparse", "drop"}, "What becomes of attention and FFN (default bam)");
  verb->add_option("--seed-model", f->seed_model, "The dense seed; expert 0")->type_name("DIR")->required();
  verb->add_option("--experts", f->experts, "Branches of the seed, in order")->type_name("DIR");
  integer_flag<std::int64_t>(*verb, "--extra-seed-experts", f->extra, 0, 1000, "Further FFN experts, copies of the seed's");
  integer_flag<std::int64_t>(*verb, "--num-experts", f->num_experts, 2, 1000, "Experts of sparse and drop (default 4)");
  integer_flag<std::int64_t>(*verb, "--top-k", f->top_k, 1, 1000, "FFN experts a token (default 1)");
  integer_flag<std::uint64_t>(*verb, "--router-seed", f->router_seed, 0, INT64_MAX, "Seed of the routers, and of the units that drop draws anew (default: --seed, or 0)");
  choice_flag(*verb, "--attention-routing", f->routing, {"soft", "top1", "top2"}, "Attention experts a token (default soft: all)");
  verb->add_flag("--norm-topk-prob", f->norm_topk_prob, "Renormalise the chosen probabilities");
  verb->add_flag("--sequential", f->sequential, "Attention, then FFN, instead of both in parallel");
  verb->add_flag("--plan", f->plan, "Print where each tensor would come from; write nothing");
  verb->callback([&common, f] { common.run = [&common, f] { run(common, *f); }; });
}

}  // namespace bam::app
