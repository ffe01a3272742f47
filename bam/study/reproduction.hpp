// The page of a reproduction, in Markdown, from the results of finished studies: each claim with its verdict, the gain over BTX beside
// that of the paper (BAM, arXiv 2408.08274, tables 1, 2 and 8), inference, and where the text came from.
#pragma once
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../eval/interval.hpp"
#include "../io/file.hpp"
#include "../io/json.hpp"
#include "report_runs.hpp"
#include "tables.hpp"

namespace bam::study {

struct Finished {
  std::string name;  // of its folder
  io::Json results, ledger;
};
// kind: "bam", "clt", or "" for any. Error(input): the folder has no results.json of such a study.
inline Finished read_finished(const std::string& folder, std::string_view kind) {
  const std::string results = folder + "/results.json", ledger = folder + "/ledger.json";
  if (!io::exists(results)) fail(ErrorKind::input, "report.results", printable(folder, 4096), ": wanted the folder of a study with its results.json, found none");
  Finished f{std::filesystem::path(folder).filename().string(), io::parse_json(io::read_file(results), results), io::Json::array()};
  if (f.name.empty()) f.name = std::filesystem::path(folder).parent_path().filename().string();
  const std::string found = report::text(f.results, "study");
  if (kind.empty() ? found != "bam" && found != "clt" : found != kind)
    fail(ErrorKind::input, "report.results", printable(results, 4096), ": wanted the results of `bam study", kind.empty() ? "" : str(" ", kind), "`");
  if (io::exists(ledger)) f.ledger = io::parse_json(io::read_file(ledger), ledger);
  return f;
}

// The gain of an arm over BTX in nats per token, mean of the domains, one value a replicate.
struct Gain {
  std::string study, size, arm, match;
  double parameters = 0;  // of the trunk, without embeddings
  Interval nats;
};
struct PaperGain {
  const char *model, *arm, *match;
  double parameters, low, high;  // over the domains
};
// From the perplexities of tables 1 and 2; parameters without embeddings from the shapes of table 8.
inline constexpr PaperGain paper_gains[] = {
    {"paper, 590M", "bam", "data", 62.9e6, 0.083, 0.107},
    {"paper, 590M", "bam-shared-kv", "compute", 62.9e6, 0.016, 0.027},
    {"paper, 2B", "bam", "data", 1401.5e6, 0.017, 0.027},
};

namespace detail {

inline std::string of(const io::Json& j, std::string_view key) { return report::text(j, key); }
inline std::string figure(double x, int digits, bool sign = false) { return std::isfinite(x) ? (sign && x > 0 ? "+" : "") + fixed(x, digits) : "-"; }
inline std::string figure(const Interval& i) { return str(figure(i.mean, 4, true), std::isfinite(i.low) ? str(" [", figure(i.low, 4, true), ", ", figure(i.high, 4, true), "]") : " (no interval)"); }
inline std::string md_row(const std::vector<std::string>& cells) {
  std::string s = "|";
  for (const std::string& c : cells) s += " " + c + " |";
  return s + "\n";
}
inline std::string md_head(const std::vector<std::string>& cells) {
  std::string s = md_row(cells) + "|";
  for (std::size_t i = 0; i < cells.size(); ++i) s += i ? "--:|" : "---|";
  return s + "\n";
}

// Per replicate the mean of the domains, and of its draws that have all of them; no number where none has. Draws within a replicate share its seed model and specialists, so they are no replicates.
inline std::vector<double> means(const Finished& f, const std::string& size, const std::string& arm, const std::string& match, const char* key) {
  std::map<std::int64_t, report::Mean> draws, replicates;  // by number
  for (const io::Json& r : report::list(f.results, "runs"))
    if (of(r, "size") == size && report::plain(of(r, "arm")) == report::plain(arm) && of(r, "match") == match) draws[r.at("replicate").as_int(f.name, 1, 1'000'000)].add(report::number(r, key));
  const double seeds = report::number(f.results, "mixture_seeds");
  const std::int64_t each = report::arm_index(arm) < std::size(report::known_arms) && seeds > 1 ? static_cast<std::int64_t>(seeds) : 1;  // of models that are no arm, the seed's and the specialists', there is one
  for (const auto& [draw, mean] : draws) {
    report::Mean& replicate = replicates[(draw - 1) / each];
    if (mean.n == static_cast<int>(report::list(f.results, "domains").size())) replicate.add(mean.value());
  }
  std::vector<double> out(replicates.empty() ? 0 : static_cast<std::size_t>(replicates.rbegin()->first) + 1, report::nan);
  for (const auto& [r, mean] : replicates)
    if (mean.n > 0) out[static_cast<std::size_t>(r)] = mean.value();
  return out;
}

}  // namespace detail

inline std::vector<Gain> gains(const std::vector<Finished>& studies) {
  std::vector<Gain> list;
  for (const Finished& f : studies)
    for (const io::Json& size : report::list(f.results, "sizes"))
      for (auto [arm, match] : {std::pair{"bam", "data"}, std::pair{"bam-shared-kv", "compute"}}) {
        const std::string name = detail::of(size, "name");
        const std::vector<double> a = detail::means(f, name, arm, match, "nll"), btx = detail::means(f, name, "btx", "data", "nll");
        std::vector<double> values;
        for (std::size_t r = 0; r < std::min(a.size(), btx.size()); ++r)
          if (std::isfinite(btx[r] - a[r])) values.push_back(btx[r] - a[r]);
        if (!values.empty()) list.push_back({f.name, name, arm, match, report::number(size, "non_embedding"), t_interval(values)});
      }
  return list;
}

// One row a point of the plot of gains over size; of the paper the range over domains.
inline std::string gains_csv(const std::vector<Finished>& studies) {
  std::string s = "source,arm,match,non_embedding,gain,low,high,n\n";
  auto bound = [](double x) { return std::isfinite(x) ? str(x) : ""; };
  for (const Gain& g : gains(studies)) s += str(g.study, " ", g.size, ",", g.arm, ",", g.match, ",", g.parameters, ",", g.nats.mean, ",", bound(g.nats.low), ",", bound(g.nats.high), ",", g.nats.n, "\n");
  for (const PaperGain& p : paper_gains) s += str("\"", p.model, "\",", p.arm, ",", p.match, ",", p.parameters, ",", (p.low + p.high) / 2, ",", p.low, ",", p.high, ",1\n");
  return s;
}

class ReproductionPage {
 public:
  // sources: the manifest of the data ("sources" and "files"); inference: the output of inference_bench --json; null where there is none.
  ReproductionPage(const std::vector<Finished>& studies, const io::Json& sources, const io::Json& inference, std::string plot)
      : studies_(studies), sources_(sources), inference_(inference), plot_(std::move(plot)) {}

  std::string markdown() const {
    return str("# BAM, reproduced\n\n",
               "The claims of *BAM! Just Like That* (arXiv 2408.08274), tested on small models with replicates, equal budgets and further baselines. Made by `scripts/reproduction.sh`\n",
               "from the results in `bench/results` and the manifest of the data (`scripts/reproduction.sh BAM MANIFEST.json`); the paper's figures are quoted.\n\n", what(), claims(), gain(), levels(), inference(), sources());
  }

 private:
  const std::vector<Finished>& studies_;
  const io::Json &sources_, &inference_;
  std::string plot_;

  // How many arms kept the lowest or the highest rate of their sweep.
  std::string edges() const {
    std::int64_t lowest = 0, highest = 0, arms = 0;
    for (const Finished& f : studies_) {
      std::map<std::pair<std::string, std::string>, std::vector<std::pair<double, bool>>> sweeps;  // size, arm: rate, kept
      for (const io::Json& t : report::list(f.results, "sweep")) sweeps[{detail::of(t, "size"), detail::of(t, "arm")}].emplace_back(report::number(t, "lr"), report::flag(t, "kept"));
      for (auto& [arm, rates] : sweeps) {
        std::sort(rates.begin(), rates.end());
        lowest += rates.front().second;
        highest += rates.back().second;
        ++arms;
      }
    }
    return arms == 0 ? "" : str(" Of ", arms, " such choices ", lowest, " fell on the lowest rate that was tried and ", highest, " on the highest, beyond which a better one may lie.");
  }
  std::string what() const {
    std::string s = "## What was run\n\n" + detail::md_head({"study", "corpus", "sizes (parameters without embeddings)", "trainings", "training tokens", "hours", "hash of the results"});
    for (const Finished& f : studies_) {
      std::string sizes;
      for (const io::Json& z : report::list(f.results, "sizes")) sizes += str(sizes.empty() ? "" : ", ", detail::of(z, "name"), " (", report::si(report::number(z, "non_embedding")), ")");
      double seconds = 0, tokens = 0, n = 0;
      for (const io::Json& l : f.ledger.items(f.name)) {
        seconds += report::number(l, "seconds");
        tokens += report::number(l, "tokens");
        ++n;
      }
      s += detail::md_row({f.name, detail::of(f.results, "corpus"), sizes, str(n, " of ", detail::of(f.results, "trainings")), report::si(tokens), detail::figure(seconds / 3600, 2), str("`", detail::of(f.results, "hash"), "`")});
    }
    s += "\nA training is a point of an arm, data- or compute-matched; the two share a trunk, whose tokens and hours are counted with each. Hours were taken beside other work.\n\n";
    if (std::any_of(studies_.begin(), studies_.end(), [](const Finished& f) { return report::list(f.results, "sweep").size() > 0; }))
      s += str("Where a study has a sweep of learning rates, each trained arm has the best one of the first replicate, by the mean over the validation sets of this page; the other replicates use it as it is.",
               edges(), "\n\n");
    for (const Finished& f : studies_) s += str("* ", f.name, ": `", detail::of(f.results, "command"), " --out DIR`", detail::of(f.results, "note").empty() ? "" : "; " + detail::of(f.results, "note"), "\n");
    return s + "\n";
  }

  std::string claims() const {
    std::string s = "## Claims\n\nPaired differences per replicate, in nats per byte, mean of the domains: shown when the 95% interval of Student's t excludes 0 in the claimed direction,\n"
                    "refuted when it does in the other, else undecided. \"No better\" and \"<=\" allow 0.002. A claim on every domain needs all four,\n"
                    "and is refuted where one refutes it; the interval is that of their mean. \"Close behind\" is shown where the difference is surely above 0 and\n"
                    "surely below half of that of BTX. \"Best at home\" stands with the difference to the rival of the least loss. General text has a verdict of its own: a tenth of what a specialist\n"
                    "reads is general text, so that it need not forget it.\n\n";
    for (const Finished& f : studies_) {
      s += str("### ", f.name, "\n\n", detail::md_head({"claim", "verdict", "n", "mean difference, interval"}));
      for (const io::Json& v : report::list(f.results, "verdicts")) {
        Interval i;
        i.n = static_cast<decltype(i.n)>(report::number(v, "n"));
        i.mean = report::number(v, "mean");
        i.low = report::number(v, "low");
        i.high = report::number(v, "high");
        s += detail::md_row({detail::of(v, "claim"), i.n < 1 ? "not run" : str("**", detail::of(v, "verdict"), "**"), str(i.n), i.n < 1 ? "-" : detail::figure(i)});
      }
      s += "\n";
    }
    return s;
  }

  std::string gain() const {
    std::string s = "## The gain over BTX and the size of the trunk\n\nNats per token below BTX, mean of the domains; positive is better than BTX. The paper's rows are ranges over domains of single runs, with a tokenizer of\n"
                    "256,000 words; tokenizers differ, so they stand here for direction and order of size.\n\n";
    if (!plot_.empty()) s += str("![Gain over BTX against trunk size](", plot_, ")\n\n");
    s += detail::md_head({"study", "parameters without embeddings", "arm", "matched by", "n", "nats per token below BTX"});
    for (const Gain& g : gains(studies_)) s += detail::md_row({g.study + " " + g.size, report::si(g.parameters), g.arm, g.match, str(g.nats.n), detail::figure(g.nats)});
    for (const PaperGain& p : paper_gains) s += detail::md_row({p.model, report::si(p.parameters), p.arm, p.match, "1", str(detail::figure(p.low, 3, true), " to ", detail::figure(p.high, 3, true))});
    return s + "\n";
  }

  // Every arm's level, the entropy, counting and compression.
  std::string levels() const {
    std::string s = "## All arms\n\nNats per byte, mean of the domains and of the replicates (n of them); behind it, for generated text, the excess above its entropy. BAM sequential\n"
                    "has parents that were trained in parallel blocks, so it measures the switch.\n\n";
    for (const Finished& f : studies_) {
      const report::Runs runs(f.results, f.ledger);
      double floor = 0;
      for (const std::string& d : runs.domains) floor += runs.floor_of(d) / static_cast<double>(runs.domains.size());
      auto level = [&](double x, const std::string& n) { return detail::figure(x, 4) + n + (std::isfinite(floor) ? ", " + detail::figure(x - floor, 4, true) : ""); };
      std::vector<std::string> sizes, head{"arm"};
      for (const io::Json& z : report::list(f.results, "sizes"))
        for (const char* match : {"data", "compute"}) {
          bool any = false;
          for (const io::Json& r : report::list(f.results, "runs")) any = any || (detail::of(r, "size") == detail::of(z, "name") && detail::of(r, "match") == match);
          if (!any) continue;
          sizes.push_back(detail::of(z, "name"));
          head.push_back(str(sizes.back(), ", ", match, "-matched"));
        }
      s += str("### ", f.name, "\n\n", detail::md_head(head));
      std::vector<std::pair<std::string, std::string>> arms{{"seed", "Seed"}, {"code", "code specialist"}, {"law", "law specialist"}, {"math", "math specialist"}};
      for (const report::Arm& a : report::known_arms) arms.emplace_back(a.key, a.label);
      for (const auto& [key, label] : arms) {
        std::vector<std::string> cells{label};
        for (std::size_t c = 0; c < sizes.size(); ++c) {
          const std::string match = head[c + 1].ends_with("compute-matched") ? "compute" : "data";
          report::Mean mean;
          for (double x : detail::means(f, sizes[c], key, key == "btx" ? "data" : match, "nll_per_byte")) mean.add(x);  // the others' compute is matched to that of BTX
          cells.push_back(mean.n ? level(mean.value(), str(" (", mean.n, ")")) : "not run");
        }
        s += detail::md_row(cells);
      }
      auto line = [&](const char* name, auto value) {  // of a figure that no model has: the mean of the domains
        double sum = 0;
        for (const std::string& d : runs.domains) sum += value(d) / static_cast<double>(runs.domains.size());
        if (std::isfinite(sum) && !runs.domains.empty()) s += detail::md_row({name, std::string_view(name).starts_with("entropy") ? detail::figure(sum, 4) : level(sum, "")});
      };
      line("5-gram of the domain", [&](const std::string& d) { return runs.baseline(d, "ngram_nll_per_byte"); });
      line("zstd -19", [&](const std::string& d) { return runs.baseline(d, "zstd_nats_per_byte"); });
      line("entropy of the text", [&](const std::string& d) { return runs.floor_of(d); });
      s += "\n" + beside_counting(runs);
    }
    return s;
  }
  // How far counting is behind the seed trained on.
  static std::string beside_counting(const report::Runs& runs) {
    std::string rows;
    for (const std::string& size : runs.sizes) {
      std::vector<std::string> cells{size};
      bool any = false;
      for (double x : runs.ngram_above_dense(size)) {
        any = any || std::isfinite(x);
        cells.push_back(detail::figure(x, 1, true) + (std::isfinite(x) ? "%" : ""));
      }
      if (any) rows += detail::md_row(cells);
    }
    if (rows.empty()) return "";
    std::vector<std::string> head{"size"};
    head.insert(head.end(), runs.domains.begin(), runs.domains.end());
    head.emplace_back("mean of the domains");
    return "By how much the 5-gram, which has counted all training text of the domain, is worse than `dense`, data-matched (nats per byte; below 0 it is better):\n\n" + detail::md_head(head) + rows + "\n";
  }

  std::string inference() const {
    std::string s = "## Inference\n\n";
    if (inference_.is_null()) return s + "Not measured.\n\n";
    std::string shape;
    for (auto [key, value] : inference_.at("config").members("config"))
      if (value.is_string() || (value.is_integer() && key != "read_bytes_per_s")) shape += str(shape.empty() ? "" : ", ", key, " ", detail::of(inference_.at("config"), key));
    s += str("`inference_bench --json`, random weights, fp32, CPU: ", shape, ". The paper's latency of a request is 1 : 1.28 : 1.24 for BTX, KV-experts, KV-sharing.\n\n") +
         detail::md_head({"arm", "prefill, ms", "decode, tokens/s", "at batch 8", "K/V bytes per token", "request, BTX = 1", "share of the read limit"});
    for (const io::Json& r : inference_.at("rows").items("rows"))
      s += detail::md_row({detail::of(r, "arm"), detail::figure(report::number(r, "prefill_ms"), 1), detail::figure(report::number(r, "decode_tokens_per_s"), 1),
                           detail::figure(report::number(r, "decode_tokens_per_s_batch8"), 1), detail::of(r, "kv_bytes_per_token"), detail::figure(report::number(r, "ratio_to_btx"), 2),
                           detail::figure(100 * report::number(r, "share_of_read_limit"), 0) + "%"});
    return s + "\n";
  }

  // What the studies on files of one's own read: the manifest's files in the folder of that name.
  std::string sources() const {
    std::string s = "## Sources of the text\n\nThe generated corpus needs no source: it is a function of its seed.\n";
    if (sources_.is_null()) return s;
    std::string files;
    std::vector<std::string> used;
    for (const Finished& f : studies_) {
      const std::string corpus = std::filesystem::path(detail::of(f.results, "corpus")).filename().string() + "/";
      for (const io::Json& file : report::list(sources_, "files")) {
        const std::string path = detail::of(file, "path");
        if (!path.starts_with(corpus)) continue;
        std::string from;
        for (const io::Json& source : report::list(file, "sources")) {
          const std::string slug(source.as_string("sources"));
          from += (from.empty() ? "" : ", ") + slug;
          if (std::find(used.begin(), used.end(), slug) == used.end()) used.push_back(slug);
        }
        files += detail::md_row({path, report::si(report::number(file, "bytes")), from, str("`", detail::of(file, "sha256"), "`")});
      }
    }
    if (used.empty()) return s;
    std::sort(used.begin(), used.end());
    s += "The files of the other studies were made from these repositories:\n\n" + detail::md_head({"source", "repository", "commit", "licence"});
    const io::Json& all = sources_.at("sources");
    for (const std::string& slug : used) {
      const io::Json& source = all.at(slug);
      s += detail::md_row({slug, detail::of(source, "repo"), str("`", detail::of(source, "commit"), "`"), detail::of(source, "licence")});
    }
    return s + "\n" + detail::md_head({"file", "bytes", "sources", "sha256"}) + files + "\n";
  }
};

}  // namespace bam::study
