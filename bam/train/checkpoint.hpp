// What a run folder keeps under checkpoints/: step-NNNNNNNN, each complete or absent, and `best`, a link to the one that validation
// liked most, when a run keeps that (a model folder like any other). And the hash of a run's bits.
#pragma once
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "../io/file.hpp"
#include "../io/hash.hpp"
#include "../io/json.hpp"
#include "../io/model_folder.hpp"
#include "../io/sha256.hpp"
#include "../nn/parameter.hpp"
#include "../optim/adamw.hpp"

namespace bam::train {

inline constexpr std::int64_t checkpoint_format = 1;

namespace detail {

// The running hash: each step's loss bits are folded into the hash so far.
inline std::string fold(const std::string& hash, double loss) {
  io::Hasher h;
  h.update(hash.data(), hash.size());
  h.update(&loss, sizeof loss);
  return h.hex();
}

inline std::string final_hash(const std::string& running, const AdamW& optimizer, const std::vector<Parameter>& parameters) {
  io::Hasher h;
  h.update(running.data(), running.size());
  for (const Parameter& p : parameters) {
    std::vector<float> v(static_cast<std::size_t>(p.numel()));
    p.read(v.data());
    h.update(p.name.data(), p.name.size());
    h.update(v.data(), v.size() * 4);
  }
  for (auto& s : optimizer.state()) {
    for (const Tensor& moment : {s.m.to(Device::cpu), s.v.to(Device::cpu)}) h.update(moment.raw(), static_cast<std::size_t>(moment.numel() * size_of(moment.dtype())));
  }
  return h.hex();
}

// The moments of p, seen through the same view as its values.
inline std::vector<Parameter> moment_views(const std::vector<Parameter>& parameters, const AdamW& optimizer) {
  std::vector<Parameter> views;
  auto state = optimizer.state();
  for (const Parameter& p : parameters)
    for (auto& s : state)
      if (s.parameter.gradient() == p.block.gradient()) {
        Parameter m = p, v = p;
        m.name = "m." + p.name;
        m.block = s.m;
        v.name = "v." + p.name;
        v.block = s.v;
        views.push_back(m);
        views.push_back(v);
      }
  return views;
}

inline std::string step_folder(std::int64_t step) {
  std::string n = std::to_string(step);
  return "step-" + std::string(n.size() < 8 ? 8 - n.size() : 0, '0') + n;
}

// Newest first.
inline std::vector<std::string> step_folders(const std::string& checkpoints) {
  std::vector<std::string> folders;
  std::error_code ec;
  for (auto& e : std::filesystem::directory_iterator(checkpoints, ec))
    if (io::is_checkpoint_name(e.path().filename().string())) folders.push_back(e.path().string());
  std::sort(folders.rbegin(), folders.rend());
  return folders;
}

// Keeps the newest `keep`, and that of step `best` (below 0: none).
inline void prune(const std::string& checkpoints, std::int64_t keep, std::int64_t best) {
  std::vector<std::string> folders = step_folders(checkpoints);
  std::error_code ec;
  for (std::size_t i = static_cast<std::size_t>(keep); i < folders.size(); ++i)
    if (best < 0 || !folders[i].ends_with("/" + step_folder(best))) std::filesystem::remove_all(folders[i], ec);
}

// SHA-256 of what a state.json says beside it.
inline std::string state_hash(io::Json state) {
  state.erase("sha256");
  return io::sha256(io::dump(state));
}

// What a run left that was killed while it saved. Only under the run's lock: nobody is writing there.
inline void remove_unfinished(const std::string& checkpoints) {
  std::vector<std::filesystem::path> left;
  std::error_code ec;
  for (auto& e : std::filesystem::directory_iterator(checkpoints, ec))
    if (const std::string name = e.path().filename().string(); name.starts_with(".") && name.find(".tmp-") != name.npos) left.push_back(e.path());
  for (const auto& path : left) std::filesystem::remove_all(path, ec);
}

// checkpoints/best: a link to the folder of that step, or nothing where there is none. Replaced at once.
inline void link_best(const std::string& checkpoints, std::int64_t step) {
  const std::string link = checkpoints + "/best", fresh = checkpoints + "/.best.tmp", target = step_folder(step);
  std::error_code ec;
  std::filesystem::remove(fresh, ec);
  if (step < 0 || !io::is_folder(checkpoints + "/" + target)) {
    std::filesystem::remove(link, ec);
    return;
  }
  std::filesystem::create_directory_symlink(target, fresh, ec);
  if (!ec) std::filesystem::rename(fresh, link, ec);
  if (ec) fail(ErrorKind::io, "checkpoint.best", printable(link, 4096), ": cannot link to ", target, ": ", ec.message());
}

// Out of the way of the checkpoints to come: it would count as the newest, and its step could not be saved again. Returns its new name.
inline std::string set_aside(const std::string& folder) {
  const std::filesystem::path from(folder), first = from.parent_path() / ("damaged-" + from.filename().string());
  std::filesystem::path to = first;
  std::error_code ec;
  for (int n = 2; std::filesystem::exists(std::filesystem::symlink_status(to, ec)); ++n) to = first.string() + "-" + std::to_string(n);
  std::filesystem::rename(from, to, ec);
  if (ec) fail(ErrorKind::io, "checkpoint.damaged", folder, ": cannot be renamed to ", to.string(), ": ", ec.message());
  return to.string();
}

}  // namespace detail
}  // namespace bam::train
