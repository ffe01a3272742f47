// A model is a folder: config.json, weights, tokenizer.json, bam_manifest.json (docs/formats.md, section 1).
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "../nn/decoder.hpp"
#include "file.hpp"
#include "model_config.hpp"
#include "parameters.hpp"
#include "sha256.hpp"

namespace bam::io {

struct ModelFolder {
  std::string path;  // resolved: a run folder gives its newest checkpoint
  ConfigFile config;
  std::unique_ptr<Decoder> decoder;
  bool has_tokenizer = false;
};

// A run's checkpoint: step- and digits. Copies that somebody keeps beside them under longer names are none.
inline bool is_checkpoint_name(std::string_view name) {
  return name.size() > 5 && name.starts_with("step-") && name.find_first_not_of("0123456789", 5) == name.npos;
}

// DIR itself when it holds config.json; else, for a run folder, its newest complete checkpoint.
inline std::string resolve_model_folder(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ec;
  if (fs::exists(fs::path(path) / "config.json", ec)) return path;
  if (ec == std::errc::permission_denied) fail(ErrorKind::io, "file.read", printable(path, 4096), ": ", ec.message(), "; check its permissions");
  fs::path newest;
  if (fs::is_directory(fs::path(path) / "checkpoints", ec))
    for (auto& entry : fs::directory_iterator(fs::path(path) / "checkpoints", ec)) {
      std::string name = entry.path().filename().string();
      if (is_checkpoint_name(name) && fs::exists(entry.path() / "config.json", ec) && (newest.empty() || name > newest.filename().string())) newest = entry.path();
    }
  if (newest.empty())
    fail(ErrorKind::input, "model.folder", printable(path, 4096), ": wanted a model folder (config.json) or a run folder with a checkpoint, found neither");
  return newest.string();
}

inline ConfigFile read_model_config(const std::string& file) { return parse_model_config(parse_json(read_file(file), file), file); }

// Fills the decoder's weights, or lists what is wrong with them (fill_parameters).
inline void load_weights_into(Decoder& decoder, const std::string& folder, bool finite = true) { load_parameters(folder, decoder.parameters(), finite); }

inline ModelFolder load_model(const std::string& path, bool finite = true) {
  ModelFolder m;
  m.path = resolve_model_folder(path);
  m.config = read_model_config(m.path + "/config.json");
  m.decoder = std::make_unique<Decoder>(m.config.model);
  load_weights_into(*m.decoder, m.path, finite);
  m.has_tokenizer = exists(m.path + "/tokenizer.json");
  return m;
}

// A file of a folder that is being staged.
inline void write_file(const std::string& path, std::string_view text) {
  OutputFile file(path);
  file.write(text);
  file.finish();
}

// Writes config.json, model.safetensors (F32), the tokenizer.json `tokenizer` (its content; empty: none) and the manifest into a
// folder that is being staged.
inline void write_model(const std::string& folder, const ConfigFile& config, const Decoder& decoder, const std::string& tokenizer, const Json& manifest) {
  write_file(folder + "/config.json", dump(model_config_json(config), 2) + "\n");
  save_parameters(folder + "/model.safetensors", decoder.parameters());
  if (!tokenizer.empty()) write_file(folder + "/tokenizer.json", tokenizer);
  write_file(folder + "/bam_manifest.json", dump(manifest, 2) + "\n");
}

// Name and SHA-256 of each file of a model, for the manifest of what is made from it.
inline Json model_hashes(const std::string& folder) {
  Json j = Json::object();
  j.set("path", folder);
  for (const char* file : {"config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json"})
    if (exists(folder + "/" + file)) j.set(file, sha256_file(folder + "/" + file));
  return j;
}

}  // namespace bam::io
