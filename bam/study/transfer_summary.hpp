// A transfer study's results as a short text for the terminal.
#pragma once
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "tables.hpp"

namespace bam::study::transfer {

// The primary score by task, setting and size over k, seen and unseen; controls; directions.
inline std::string summary(const io::Json& results) {
  auto pad = [](std::string s, std::size_t width, bool left) { return s.size() >= width ? s : left ? s + std::string(width - s.size(), ' ') : std::string(width - s.size(), ' ') + s; };
  auto word = [](const io::Json& j, const char* key) { return std::string(j.at(key).as_string(key)); };
  std::string out;
  std::vector<std::string> rows;
  std::map<std::string, std::map<std::int64_t, std::string>> cells;
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> items;  // of a row: fewest and most over k
  for (const io::Json& c : results.at("curves").items("curves")) {
    const std::string task = word(c, "task");
    if (word(c, "score") != word(results.at("primary"), task.c_str())) continue;
    const std::string row = str(pad(task, 14, true), pad(word(c, "setting"), 19, true), pad(word(c, "size"), 10, true), pad(word(c, "split"), 9, true), pad(word(c, "score"), 11, true));
    if (!cells.contains(row)) rows.push_back(row);
    const std::int64_t n = c.at("n").as_int("n");
    auto& [fewest, most] = items.try_emplace(row, n, n).first->second;
    fewest = std::min(fewest, n), most = std::max(most, n);
    cells[row][c.at("k").as_int("k")] = study::detail::fixed(c.at("mean").as_double("mean"), 3) + (c.at("above_chance").as_bool("above_chance") ? " " : "?");
  }
  out += pad("task", 14, true) + pad("setting", 19, true) + pad("size", 10, true) + pad("split", 9, true) + pad("score", 11, true);
  for (const io::Json& k : results.at("k").items("k")) out += pad(str("k ", k.as_int("k"), " "), 10, false);
  out += pad("items", 10, false) + "\n";
  for (const std::string& row : rows) {
    out += row;
    for (const io::Json& k : results.at("k").items("k")) {
      auto at = cells[row].find(k.as_int("k"));
      out += pad(at == cells[row].end() ? "- " : at->second, 10, false);
    }
    const auto& [fewest, most] = items[row];
    out += pad(fewest == most ? str(most) : str(fewest, "-", most), 10, false) + "\n";
  }
  out += "? cannot be told from chance\n\n";
  for (const io::Json& c : results.at("controls").items("controls"))
    out += str(pad(c.at("passes").as_bool("passes") ? "passes" : "FAILS", 8, true), word(c, "control"), ", ", word(c, "task"), ", ", word(c, "score"), ": ", study::detail::fixed(c.at("value").as_double("value"), 3), ", expected ",
               study::detail::fixed(c.at("expected").as_double("expected"), 3), ", n ", c.at("n").as_int("n"), "\n");
  out += "\n";
  for (const io::Json& d : results.at("directions").items("directions")) {
    auto value = [&](const char* key) { return study::detail::fixed(d.at(key).as_double(key), 3); };
    out += str(pad(word(d, "finding"), 18, true), " n ", d.at("n").as_int("n"), "  ", word(d, "claim"), d.at("mean").is_null() ? "" : ": " + value("mean"), d.at("low").is_null() ? "" : str(" [", value("low"), ", ", value("high"), "]"), "\n");
  }
  if (const io::Json* note = results.find("note")) out += std::string(note->as_string("note")) + "\n";
  return out;
}

}  // namespace bam::study::transfer
