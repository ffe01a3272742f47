// Upcycling from model folders to a model folder, with the provenance of each tensor and the identity check in its manifest.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "../io/model_folder.hpp"
#include "../nn/estimate.hpp"
#include "upcycle.hpp"

namespace bam {

inline io::Json provenance_json(const std::vector<Provenance>& plan, const UpcycleOptions& o) {
  io::Json list = io::Json::object();
  for (const Provenance& p : plan) {
    io::Json j = io::Json::object();
    j.set("rule", p.rule);
    if (p.rule == "random" || p.rule == "redrawn") {
      j.set("seed", static_cast<std::int64_t>(o.router_seed));
      j.set("stream", static_cast<std::int64_t>(p.stream));
    }
    if (!p.source.empty()) {
      io::Json parents = io::Json::array({});
      for (std::int64_t i : p.parents) parents.push_back(i);
      j.set("parents", std::move(parents));
      j.set("source", p.source);
    }
    list.set(p.name, std::move(j));
  }
  return list;
}

struct UpcycleReport {
  ParameterCount count;
  double identity = 0;  // of upcycle_identity
};

// paths[0] is the seed. The folder `out` appears complete or not at all; replace: one that is there gives way. Error(numerics) when the
// identity check fails.
inline UpcycleReport upcycle_folders(const std::vector<std::string>& paths, const std::string& method, const UpcycleOptions& o, const std::string& out, bool replace,
                                     const std::string& version, const std::function<void(const std::string&)>& note = {}) {
  std::vector<io::ModelFolder> models;
  std::vector<const Decoder*> dense;
  for (const std::string& p : paths) {
    if (note) note(str("reading ", p));
    models.push_back(io::load_model(p));
    if (models.back().has_tokenizer && models.front().has_tokenizer &&
        io::sha256_file(models.back().path + "/tokenizer.json") != io::sha256_file(models.front().path + "/tokenizer.json"))
      fail(ErrorKind::input, "upcycle.tokenizer", p, ": its tokenizer differs from the seed's; all parents must share one");
  }
  for (auto& m : models) dense.push_back(m.decoder.get());
  std::vector<Provenance> plan;
  Decoder mixture = upcycle(dense, o, &plan);
  double identity = upcycle_identity(*dense[0], static_cast<std::int64_t>(dense.size()), o);
  if (!(identity < 1e-5))
    fail(ErrorKind::numerics, "upcycle.identity", "upcycle: copies of the seed, mixed softly, differ from it by ", identity, " (relative logits), wanted below 1e-5; nothing was written");

  io::ConfigFile config = models[0].config;
  config.model = mixture.config();
  io::Json manifest = io::Json::object(), parents = io::Json::array({});
  manifest.set("bam_version", version);
  manifest.set("method", method);
  manifest.set("router_seed", static_cast<std::int64_t>(o.router_seed));
  for (const std::string& p : paths) parents.push_back(io::model_hashes(p));
  manifest.set("parents", std::move(parents));
  manifest.set("identity", identity);
  manifest.set("tensors", provenance_json(plan, o));
  // Never a run folder: its checkpoints may be the only ones.
  io::StagedDirectory staged(out, replace ? "bam_manifest.json" : "");
  io::write_model(staged.path(), config, mixture, models[0].has_tokenizer ? io::read_file(models[0].path + "/tokenizer.json") : "", manifest);
  staged.commit();

  return {count_parameters(mixture.config()), identity};
}

}  // namespace bam
