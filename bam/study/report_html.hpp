// Small writers of the report's HTML: the arms and their names, escaped text, numbers, tables.
#pragma once
#include <algorithm>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>

#include "../core/error.hpp"
#include "../io/json.hpp"

namespace bam::study::report {

using io::Json;
inline constexpr double nan = std::numeric_limits<double>::quiet_NaN();

// The arms of docs/method.md, 1.4 in the order of the tables. Names are compared without case and punctuation.
struct Arm {
  const char *label, *what, *key, *alias;
  int style;           // of its curve: colour 0 to 6, 7 more for dashes, 14 more for dots
  bool shown = false;  // in the chart of curves from the start
};
inline constexpr Arm known_arms[] = {
    {"BAM", "soft attention experts with own keys and values, FFN top-1", "bam", "bamownkv", 0, true},
    {"BAM-shared-kv", "soft attention experts over shared keys and values, FFN top-1", "bamsharedkv", "bamshared", 12, true},
    {"BAM top-1", "attention routed to one expert", "bamtop1", "bam1", 14},
    {"BAM top-2", "attention routed to two experts", "bamtop2", "bam2", 20},
    {"BAM sequential", "BAM of the same parallel parents, run block after block: the switch, not training so, is what it measures", "bamsequential", "sequential", 17},
    {"BTX", "averaged attention, FFN top-1: the baseline", "btx", "btxtop1", 1, true},
    {"BTX top-2", "averaged attention, FFN top-2", "btxtop2", "btx2", 15},
    {"BTX soft", "averaged attention, all FFN experts", "btxsoft", "softbtx", 8},
    {"BTX-5", "one more FFN expert, a copy of the seed's", "btx5", "btx5top1", 16},
    {"BTX-6", "two more FFN experts", "btx6", "btx6top1", 18},
    {"BTX-7", "three more FFN experts", "btx7", "btx7top1", 19},
    {"BTX-8", "four more FFN experts", "btx8", "btx8top1", 13},
    {"BTX-6 top-3", "six FFN experts, three per token", "btx6top3", "btxtop3", 5},
    {"Dense", "the seed trained on", "dense", "densecontinued", 9, true},
    {"Sparse upcycling", "four copies of the seed's FFN", "sparse", "sparseupcycling", 10, true},
    {"Drop-Upcycling", "copies with half of the hidden units redrawn", "drop", "dropupcycling", 11},
    {"BTM ensemble", "posterior-weighted dense models, no training", "btm", "btmensemble", 7},
    {"BTM average", "mean of the dense weights, no training", "btmaverage", "average", 6},
};

inline std::string plain(std::string_view name) {
  std::string s;
  for (char c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) s += c;
  }
  return s;
}
inline std::size_t arm_index(std::string_view name) {
  std::string key = plain(name);
  std::size_t i = 0;
  while (i < std::size(known_arms) && key != known_arms[i].key && key != known_arms[i].alias) ++i;
  return i;
}
inline std::string arm_label(std::string_view name) {
  std::size_t i = arm_index(name);
  return i < std::size(known_arms) ? known_arms[i].label : std::string(name);
}

inline std::string esc(std::string_view text) {
  std::string s;
  for (std::size_t i = 0; i < text.size();) {
    std::size_t n = io::utf8_length(text.substr(i));
    auto c = static_cast<unsigned char>(text[i]);
    if (c == '&')
      s += "&amp;";
    else if (c == '<')
      s += "&lt;";
    else if (c == '>')
      s += "&gt;";
    else if (c == '"')
      s += "&quot;";
    else if (c == '\'')
      s += "&#39;";
    else if (n == 0 || c == 0x7f || (c < 0x20 && c != '\n' && c != '\t'))
      s += "\xef\xbf\xbd";
    else
      s.append(text, i, n);
    i += n ? n : 1;
  }
  return s;
}
// Of a long text the start, cut between characters.
inline std::string cut(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return esc(text);
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xc0) == 0x80) --limit;
  return esc(text.substr(0, limit)) + " <i>(cut)</i>";
}

// Lenient getters: what is absent or of another type is empty.
inline double sane(double x) { return std::abs(x) < 1e100 ? x : nan; }  // so that sums and e to the power of x stay numbers or become a dash
inline double number(const Json& j, std::string_view key) {
  const Json* v = j.find(key);
  return v && v->is_number() ? sane(v->as_double(key)) : nan;
}
inline double number(const Json& v) { return v.is_number() ? sane(v.as_double("number")) : nan; }
inline Json finite(double x) { return std::isfinite(x) ? Json(x) : Json(); }
inline std::string text(const Json& j, std::string_view key) {
  const Json* v = j.find(key);
  return v && v->is_string() ? std::string(v->as_string(key)) : v && v->is_integer() ? v->describe().substr(v->describe().rfind(' ') + 1) : "";
}
inline bool flag(const Json& j, std::string_view key) {
  const Json* v = j.find(key);
  return v && v->is_bool() && v->as_bool(key);
}
inline Json::Items list(const Json& j, std::string_view key) {
  static const Json none = Json::array();
  const Json* v = j.find(key);
  return (v && v->is_array() ? *v : none).items(key);
}

inline std::string fixed(double x, int digits, bool sign = false) {
  if (!std::isfinite(x)) return "<span class=none>\xe2\x80\x93</span>";
  if (std::abs(x) >= 1e12) return str(x);
  char buffer[64];
  auto r = std::to_chars(buffer, buffer + sizeof buffer, std::abs(x), std::chars_format::fixed, digits);
  return std::string(x < 0 ? "\xe2\x88\x92" : sign ? "+" : "").append(buffer, r.ptr);
}
// 1.23 M
inline std::string si(double x) {
  static constexpr const char* unit[] = {"", " k", " M", " G", " T", " P", " E", " Z"};
  std::size_t i = 0;
  while (std::abs(x) >= 1000 && i + 1 < std::size(unit)) x /= 1000, ++i;
  return fixed(x, i == 0 || std::abs(x) >= 100 ? 0 : std::abs(x) >= 10 ? 1 : 2) + unit[i];
}
inline std::string interval(const Json& j) {
  double low = number(j, "low"), high = number(j, "high");
  if (std::isnan(low) || std::isnan(high) || !std::isfinite(high - low)) return "<span class=none>no interval</span>";
  return str("[", fixed(low, 4, true), ", ", fixed(high, 4, true), "]");
}

struct Mean {
  double sum = 0;
  int n = 0;
  void add(double x) {
    if (std::isfinite(x)) sum += x, ++n;
  }
  double value() const { return n ? sum / n : nan; }
};

// Small writers. A table scrolls inside its own box; its first column stays.
inline std::string td(std::string_view html, std::string_view attributes = "") {
  return str("<td", attributes.empty() ? "" : " ", attributes, ">", html, "</td>");
}
inline std::string th(std::string_view html, std::string_view attributes = "") {
  return str("<th", attributes.empty() ? "" : " ", attributes, ">", html, "</th>");
}
inline std::string words(std::string_view text) { return td(esc(text), "class=words"); }
// A row of the table: what it is about, then its cells.
template <class... Cells>
std::string row(std::string_view head_html, const Cells&... cells) {
  return str("<tr>", th(head_html, "scope=row"), cells..., "</tr>\n");
}
inline std::string heads(std::initializer_list<std::string_view> names) {
  static constexpr std::string_view words[] = {"size", "verdict", "domain", "matched", "hash", "check", "setting", "split", "trained on", "tested on", "over languages (replicates)", "what the value is"};  // columns of text
  std::string s = "<thead><tr>";
  for (auto n : names) s += th(n, std::find(std::begin(words), std::end(words), n) != std::end(words) ? "scope=col class=words" : "scope=col");
  return s + "</tr></thead>";
}
inline std::string table(std::string_view what, std::string_view inner, std::string_view kind = "") {
  return str("<div class='scroll ", kind, "' tabindex=0 role=region aria-label=\"", esc(what), "\"><table>", inner, "</table></div>\n");
}
inline std::string body(std::string_view what, std::string_view head, std::string_view rows, std::string_view kind = "") {
  return table(what, str(head, "<tbody>", rows, "</tbody>"), kind);
}
inline std::string fold(std::string_view title, std::string_view inner, bool open = false) {
  return str("<details", open ? " open" : "", "><summary>", title, "</summary>", inner, "</details>\n");
}
inline std::string missing(std::string_view what) { return str("<p class=missing>Missing: ", what, "</p>\n"); }
inline std::string section(std::string_view id, std::string_view title, std::string_view inner) {
  return str("<section id=", id, "><h2>", title, "</h2>\n", inner, "</section>\n");
}
inline std::string heat(double share) { return str("style='--a:", std::round(std::clamp(share, 0.0, 1.0) * 1000) / 1000, "' class=heat"); }
inline std::string mark(bool good, std::string_view words) {
  return str("<span class=", good ? "good" : "bad", ">", good ? "\xe2\x9c\x93 " : "\xe2\x9c\x97 ", words, "</span>");
}

}  // namespace bam::study::report
