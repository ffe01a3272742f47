// Our instruction checks beside the verdicts that M-IFEval's authors published with their paper (Dussolle et al. 2025): what seventeen models wrote for its English, Spanish and French prompts.
//   git clone https://github.com/lightblue-tech/M-IFEval
//   m_ifeval M-IFEval TEXTS        TEXTS: a folder of lines {"text", "lang"}, from which languages are learned
// A table in Markdown of how many verdicts are the same, for each kind that has one which is not.
#include <fmt/core.h>

#include <filesystem>
#include <map>

#include "bam/eval/written.hpp"

namespace {

using namespace bam;

struct Verdicts {
  std::int64_t same = 0, only_ours = 0, only_theirs = 0, untold = 0;
  void add(std::optional<bool> ours, bool theirs) { ++(!ours ? untold : *ours == theirs ? same : *ours ? only_ours : only_theirs); }
  void add(const Verdicts& v) { same += v.same, only_ours += v.only_ours, only_theirs += v.only_theirs, untold += v.untold; }
};

void compare(const std::string& root, const std::string& texts) {
  const LanguageIdentifier identifier = read_languages({texts});
  std::map<std::string, std::map<std::string, io::Json>> asked;  // by language and prompt
  for (const char* lang : {"en", "es", "fr"}) {
    const std::string file = str(root, "/data/", lang, "_input_data.jsonl");
    for (const io::Json& line : io::parse_json_lines(io::read_file(file), file)) asked[lang].emplace(line.at("prompt", file).as_string(file), line);
  }
  std::map<std::string, Verdicts> found[2];
  for (const auto& folder : std::filesystem::directory_iterator(root + "/evaluations")) {
    const auto prompts = asked.find(folder.path().filename().string().substr(0, 2));
    if (prompts == asked.end()) continue;
    for (bool loose : {false, true}) {
      const std::string file = str(folder.path().string(), "/eval_results_", loose ? "loose" : "strict", ".jsonl");
      for (const io::Json& line : io::parse_json_lines(io::read_file(file), file)) {
        const auto prompt = prompts->second.find(std::string(line.at("prompt", file).as_string(file)));
        if (prompt == prompts->second.end() || !line.at("response", file).is_string()) continue;
        const std::string response(line.at("response", file).as_string(file));
        const std::vector<InstructionCheck> checks = read_checks(prompt->second, file);
        const auto names = line.at("instruction_id_list", file).items(file), theirs = line.at("follow_instruction_list", file).items(file);
        for (std::size_t i = 0; i < checks.size(); ++i)
          found[loose][std::string(names[i].as_string(file))].add(loose ? follows_loosely(response, checks[i], &identifier) : follows(response, checks[i], &identifier), theirs[i].as_bool(file));
      }
    }
  }
  fmt::print("| check | | same | only ours says followed | only theirs | untold |\n|---|---|--:|--:|--:|--:|\n");
  auto row = [](const std::string& name, bool loose, const Verdicts& v) { fmt::print("| {} | {} | {} | {} | {} | {} |\n", name, loose ? "loose" : "strict", v.same, v.only_ours, v.only_theirs, v.untold); };
  for (bool loose : {false, true}) {
    Verdicts all;
    for (const auto& [name, v] : found[loose]) {
      all.add(v);
      if (v.only_ours + v.only_theirs + v.untold > 0) row(name, loose, v);
    }
    row(str("all ", found[loose].size(), " kinds"), loose, all);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: m_ifeval M-IFEVAL-FOLDER TEXTS\n");
    return 2;
  }
  try {
    compare(argv[1], argv[2]);
    return 0;
  } catch (const Error& e) {
    fmt::print(stderr, "{}\n", e.what());
    return static_cast<int>(e.kind());
  }
}
