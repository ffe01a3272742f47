// The study's results as CSV files and as a short table for the terminal.
#pragma once
#include <array>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "../core/math.hpp"
#include "../io/file.hpp"
#include "../io/json.hpp"

namespace bam::study {

namespace detail {
// A field of CSV: quoted where it must be.
inline std::string csv(const io::Json& v) {
  if (v.is_null()) return "";
  std::string s = v.is_string() ? std::string(v.as_string("csv")) : io::dump(v);
  if (s.find_first_of(",\"\n") == s.npos) return s;
  std::string out = "\"";
  for (char c : s) out += c == '"' ? "\"\"" : std::string(1, c);
  return out + "\"";
}
inline std::string fixed(double x, int decimals) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.*f", decimals, x);
  return buffer;
}
}  // namespace detail

struct Table {
  const char* name;
  const char* columns = "";  // where the list is empty
  Table(const char* n, const char* c = "") : name(n), columns(c) {}
};

// NAME.csv of each list of the results, and ledger.csv; the columns are named like the keys.
inline void write_tables(const std::string& folder, const io::Json& results, const io::Json& ledger, const std::vector<Table>& tables) {
  io::make_folder(folder);
  for (const auto& [name, columns] : tables) {
    std::string text;
    for (const io::Json& row : (std::string_view(name) == "ledger" ? ledger : results.at(name)).items(name)) {
      if (text.empty()) {
        for (auto [key, value] : row.members(name)) text += (text.empty() ? "" : ",") + std::string(key);
        text += "\n";
      }
      std::string line;
      bool first = true;
      for (auto [key, value] : row.members(name)) {
        if (!first) line += ",";
        line += detail::csv(value);
        first = false;
      }
      text += line + "\n";
    }
    if (text.empty() && *columns) text = str(columns, "\n");
    io::write_file_atomic(folder + "/" + name + ".csv", text);
  }
}

// Perplexity per token and nats per byte of each arm by domain, from means over draws; and the verdicts.
inline std::string summary(const io::Json& results) {
  std::vector<std::string> order;
  std::map<std::string, std::map<std::string, std::array<double, 3>>> sums;  // of nll, of nll per byte, and how many
  for (const io::Json& r : results.at("runs").items("runs")) {
    std::string arm(r.at("arm").as_string("arm")), match(r.at("match").as_string("match"));
    arm = std::string(r.at("size").as_string("size")) + " " + arm + (match == "data" ? "" : ", " + match + "-matched");
    if (!sums.contains(arm)) order.push_back(arm);
    auto& [nll, per_byte, n] = sums[arm][std::string(r.at("domain").as_string("domain"))];
    nll += r.at("nll").as_double("nll");
    per_byte += r.at("nll_per_byte").as_double("nll_per_byte");
    n += 1;
  }
  auto pad = [](std::string s, std::size_t width, bool left) { return s.size() >= width ? s : left ? s + std::string(width - s.size(), ' ') : std::string(width - s.size(), ' ') + s; };
  std::size_t width = 20;
  for (const std::string& arm : order) width = std::max(width, arm.size());
  const auto columns = results.at("domains").items("domains");
  std::string out;
  const io::Json* floor = results.find("floor");
  if (floor && !floor->is_object()) floor = nullptr;
  auto entropy = [&](const std::string& d) { return floor->at(d).as_double("floor"); };
  // The mean over the domains, and what it is above the entropy of the text: the difference of the figures as they are printed, so that the columns add up.
  auto head = [&](const std::string& title, bool mean) {
    out += pad(title, width, true);
    for (const io::Json& d : columns) out += pad(std::string(d.as_string("domain")), 10, false);
    out += (mean ? pad("mean", 10, false) : "") + (mean && floor ? pad("excess", 10, false) : "") + "\n";
  };
  auto row = [&](const std::string& name, int decimals, bool with_mean, auto value) {
    out += pad(name, width, true);
    double mean = 0, least = 0;
    for (const io::Json& d : columns) {
      const std::string domain(d.as_string("domain"));
      const double x = value(domain);
      mean += x / static_cast<double>(columns.size());
      if (floor) least += entropy(domain) / static_cast<double>(columns.size());
      out += pad(detail::fixed(x, decimals), 10, false);
    }
    out += (with_mean ? pad(detail::fixed(mean, decimals), 10, false) : "") + (with_mean && floor ? pad(detail::fixed(std::stod(detail::fixed(mean, decimals)) - std::stod(detail::fixed(least, decimals)), decimals), 10, false) : "") + "\n";
  };
  head("perplexity", false);
  for (const std::string& arm : order)
    row(arm, 2, false, [&](const std::string& d) { return math::exp(sums[arm][d][0] / sums[arm][d][2]); });
  out += "\n";
  head("nats per byte", true);
  for (const std::string& arm : order)
    row(arm, 4, true, [&](const std::string& d) { return sums[arm][d][1] / sums[arm][d][2]; });
  if (const io::Json* baselines = results.find("baselines"))
    for (auto [name, key] : {std::pair{"5-gram of the domain", "ngram_nll_per_byte"}, std::pair{"zstd -19", "zstd_nats_per_byte"}})
      row(name, 4, true, [&, key = key](const std::string& d) { return baselines->at(d).at(key).as_double(key); });
  if (floor) row("entropy of the text", 4, true, entropy);
  out += "\n";
  for (const io::Json& v : results.at("verdicts").items("verdicts"))
    if (v.at("n").as_int("n") > 0) out += pad(std::string(v.at("verdict").as_string("verdict")), 10, true) + " n " + io::dump(v.at("n")) + "  " + std::string(v.at("claim").as_string("claim")) + "\n";
  if (const io::Json* note = results.find("note")) out += std::string(note->as_string("note")) + "\n";
  return out;
}

}  // namespace bam::study
