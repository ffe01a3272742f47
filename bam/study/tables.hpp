// The study's results as CSV files and as a short table for the terminal.
#pragma once
#include <cstdio>
#include <map>
#include <string>
#include <vector>

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

// runs.csv, differences.csv, verdicts.csv and identity.csv, the columns named like the keys.
inline void write_tables(const std::string& folder, const io::Json& results) {
  io::make_folder(folder);
  for (const char* name : {"runs", "differences", "verdicts", "identity"}) {
    std::string text;
    for (const io::Json& row : results.at(name).items(name)) {
      if (text.empty()) {
        for (auto [key, value] : row.members(name)) text += (text.empty() ? "" : ",") + std::string(key);
        text += "\n";
      }
      std::string line;
      bool first = true;
      for (auto [key, value] : row.members(name)) {
        line += (first ? "" : ",") + detail::csv(value);
        first = false;
      }
      text += line + "\n";
    }
    io::write_file_atomic(folder + "/" + name + ".csv", text);
  }
}

// Nats per byte of each arm by domain, the mean over draws; and the verdicts.
inline std::string summary(const io::Json& results) {
  std::vector<std::string> order;
  std::map<std::string, std::map<std::string, std::pair<double, int>>> sums;
  for (const io::Json& r : results.at("runs").items("runs")) {
    std::string arm(r.at("arm").as_string("arm")), match(r.at("match").as_string("match"));
    arm = std::string(r.at("size").as_string("size")) + " " + arm + (match == "data" ? "" : ", " + match + "-matched");
    if (!sums.contains(arm)) order.push_back(arm);
    auto& [sum, n] = sums[arm][std::string(r.at("domain").as_string("domain"))];
    sum += r.at("nll_per_byte").as_double("nll_per_byte");
    ++n;
  }
  auto pad = [](std::string s, std::size_t width, bool left) { return s.size() >= width ? s : left ? s + std::string(width - s.size(), ' ') : std::string(width - s.size(), ' ') + s; };
  std::size_t width = 20;
  for (const std::string& arm : order) width = std::max(width, arm.size());
  std::string out = pad("nats per byte", width, true);
  const auto columns = results.at("domains").items("domains");
  for (const io::Json& d : columns) out += pad(std::string(d.as_string("domain")), 10, false);
  out += pad("mean", 10, false) + "\n";
  auto row = [&](const std::string& name, auto value) {
    out += pad(name, width, true);
    double mean = 0;
    for (const io::Json& d : columns) {
      double x = value(std::string(d.as_string("domain")));
      mean += x / static_cast<double>(columns.size());
      out += pad(detail::fixed(x, 4), 10, false);
    }
    out += pad(detail::fixed(mean, 4), 10, false) + "\n";
  };
  for (const std::string& arm : order)
    row(arm, [&](const std::string& d) {
      auto [sum, n] = sums[arm][d];
      return n ? sum / n : 0.0;
    });
  if (const io::Json* floor = results.find("floor"); floor && floor->is_object())
    row("entropy of the text", [&](const std::string& d) { return floor->at(d).as_double("floor"); });
  out += "\n";
  for (const io::Json& v : results.at("verdicts").items("verdicts"))
    if (v.at("n").as_int("n") > 0) out += pad(std::string(v.at("verdict").as_string("verdict")), 10, true) + " n " + io::dump(v.at("n")) + "  " + std::string(v.at("claim").as_string("claim")) + "\n";
  if (const io::Json* note = results.find("note")) out += std::string(note->as_string("note")) + "\n";
  return out;
}

}  // namespace bam::study
