// Reading a TOML file strictly: every key is named, typed and in range, and an unknown one is an error that suggests the nearest.
#pragma once
#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "../core/error.hpp"
#include "../core/nearest.hpp"
#include "json.hpp"

// What the parser takes for granted of a file ("[=") it asserts, or with NDEBUG assumes: here it is an error like any other.
namespace bam::io::detail {
struct TomlAssumption {
  const char* what;
};
[[noreturn]] inline void stop_parsing(const char* what) { throw TomlAssumption{what}; }
}  // namespace bam::io::detail
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expr) ((expr) ? void() : ::bam::io::detail::stop_parsing(#expr))
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

namespace bam::io {

// What walks a table calls itself for each part of a key. The parser limits values within values, not these.
inline constexpr std::int64_t most_key_parts = 8;

namespace detail {
// The place in a TOML text where a key has more parts than that, or npos.
inline std::size_t long_key(std::string_view text) {
  std::int64_t dots = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '#') {
      i = std::min(text.find('\n', i), text.size()) - 1;
    } else if (c == '"' || c == '\'') {
      const std::string end(text.substr(i).starts_with(std::string(3, c)) ? 3 : 1, c);
      for (i += end.size(); i < text.size() && !text.substr(i).starts_with(end) && (end.size() == 3 || text[i] != '\n'); ++i) i += c == '"' && text[i] == '\\';
      i += end.size() - 1;
      for (int more = 0; end.size() == 3 && more < 2 && i + 1 < text.size() && text[i + 1] == c; ++more) ++i;  // quotes at its end
    } else if (c == '.') {
      if (++dots == most_key_parts) return i;
    } else if (c == '=') {
      dots = -(std::int64_t{1} << 60);  // a value comes
    } else if (std::string_view("\n,{}[]").find(c) != std::string_view::npos) {
      dots = 0;
    }
  }
  return text.npos;
}
}  // namespace detail

inline toml::table parse_toml(const std::string& text, const std::string& file) {
  if (std::size_t at = detail::long_key(text); at != text.npos)
    fail(ErrorKind::input, "toml.depth", printable(file, 4096), ":", std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n') + 1, ": wanted keys of at most ", most_key_parts, " parts, this one has more");
  try {
    return toml::parse(text, file);
  } catch (const toml::parse_error& e) {
    fail(ErrorKind::input, "run.toml", printable(file, 4096), ":", static_cast<std::int64_t>(e.source().begin.line), ": ", printable(e.description(), 300));
  } catch (const detail::TomlAssumption& e) {
    fail(ErrorKind::input, "run.toml", printable(file, 4096), ": is no TOML; the parser stopped where it wanted ", e.what);
  }
}

// Whether a name can be that of a file or folder anywhere, and says nothing of where it lies.
inline bool is_file_name(std::string_view name) {
  auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.'; };
  return !name.empty() && name.size() <= 60 && name[0] != '.' && std::all_of(name.begin(), name.end(), fits);
}
// A string as TOML writes it.
inline std::string toml_string(std::string_view s) { return dump(Json(s)); }

// One table of the file. Keys are taken; what is left at the end is unknown.
class TomlReader {
 public:
  TomlReader(const toml::table& table, std::string file, std::string prefix) : table_(table), file_(std::move(file)), prefix_(std::move(prefix)) {}

  void read(const char* key, std::string& value) {
    const toml::node* n = take(key);
    if (!n) return;
    auto s = n->value_exact<std::string>();
    if (!s || s->empty()) wrong(key, *n, "a non-empty string");
    value = *s;
  }
  // A name of files and folders too.
  void read_name(const char* key, std::string& value) {
    read(key, value);
    if (has(key) && !is_file_name(value)) wrong(key, *take(key), "a name of letters, digits, '-', '_' and '.', which does not begin with a point, of up to 60 characters");
  }
  void read(const char* key, bool& value) {
    if (const toml::node* n = take(key)) {
      if (!n->is_boolean()) wrong(key, *n, "true or false");
      value = **n->as_boolean();
    }
  }
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  void read(const char* key, T& value, std::int64_t min, std::int64_t max) {
    if (const toml::node* n = take(key)) {
      if (!n->is_integer()) wrong(key, *n, str("an integer from ", min, " to ", max));
      std::int64_t x = **n->as_integer();
      if (x < min || x > max) wrong(key, *n, str("an integer from ", min, " to ", max));
      value = static_cast<T>(x);
    }
  }
  void read(const char* key, double& value, double min, double max) {
    if (const toml::node* n = take(key)) {
      auto x = n->is_number() ? n->value<double>() : std::nullopt;
      if (!x || !(*x >= min && *x <= max)) wrong(key, *n, str("a number from ", min, " to ", max));
      value = *x;
    }
  }
  void read(const char* key, std::vector<std::string>& value) {
    if (const toml::node* n = take(key)) {
      const toml::array* a = n->as_array();
      value.clear();
      if (a)
        for (const toml::node& item : *a)
          if (auto s = item.value_exact<std::string>()) value.push_back(*s);
      if (!a || value.size() != a->size()) wrong(key, *n, "an array of strings");
    }
  }
  void read(const char* key, std::vector<double>& value, double min, double max) {
    if (const toml::node* n = take(key)) {
      const toml::array* a = n->as_array();
      value.clear();
      if (a)
        for (const toml::node& item : *a)
          if (auto x = item.is_number() ? item.value<double>() : std::nullopt; x && *x >= min && *x <= max) value.push_back(*x);
      if (!a || value.size() != a->size()) wrong(key, *n, str("an array of numbers from ", min, " to ", max));
    }
  }
  // [key], or nothing.
  const toml::table* table(const char* key) {
    const toml::node* n = take(key);
    if (n && !n->is_table()) wrong(key, *n, "a table");
    return n ? n->as_table() : nullptr;
  }
  // All [[key]].
  std::vector<const toml::table*> tables(const char* key) {
    std::vector<const toml::table*> list;
    if (const toml::node* n = take(key)) {
      const toml::array* a = n->as_array();
      if (!a) wrong(key, *n, str("tables: [[", key, "]]"));
      for (const toml::node& item : *a) {
        if (!item.is_table()) wrong(key, item, "a table");
        list.push_back(item.as_table());
      }
    }
    return list;
  }
  const toml::node* take(const char* key) {
    known_.push_back(key);
    return table_.get(key);
  }
  bool has(const char* key) const { return table_.get(key) != nullptr; }
  void finish() const {
    for (auto& [k, node] : table_) {
      std::string key(k.str());
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      std::string near = nearest(key, known_), all;
      for (const std::string& word : known_) all += (all.empty() ? "" : ", ") + word;
      fail(ErrorKind::input, "run.key", place(node), prefix_, printable(key), " is no key of a run file; ", near.empty() ? str("wanted one of ", all) : str("did you mean ", near, "?"));
    }
  }
  [[noreturn]] void missing(const char* key, std::string_view what) const { fail(ErrorKind::input, "run.key", file_, ": wanted ", prefix_, key, ", ", what); }
  [[noreturn]] void wrong(const char* key, const toml::node& node, std::string_view wanted) const {
    std::ostringstream got;
    node.visit([&](const auto& n) { got << n; });
    fail(ErrorKind::input, "run.value", place(node), prefix_, key, ": wanted ", wanted, ", got ", printable(got.str(), 100));
  }

 private:
  std::string place(const toml::node& node) const {
    auto line = node.source().begin.line;
    return line ? str(file_, ":", static_cast<std::int64_t>(line), ": ") : str(file_, ": ");
  }
  const toml::table& table_;
  std::string file_, prefix_;
  std::vector<std::string> known_;
};

// key=value, the value as TOML where it is TOML, else as a string; data.0.weight reaches into arrays.
inline void apply_set(toml::table& table, const std::string& text) {
  std::size_t eq = text.find('=');
  if (eq == text.npos || eq == 0) fail(ErrorKind::usage, "flag.value", "--set: wanted key=value, got '", printable(text, 100), "'");
  std::string key = text.substr(0, eq), value = text.substr(eq + 1);
  if (std::count(key.begin(), key.end(), '.') >= most_key_parts) fail(ErrorKind::usage, "flag.value", "--set: wanted a key of at most ", most_key_parts, " parts, got '", printable(key, 100), "'");
  toml::table parsed;
  const std::string line = "x = " + value + "\n";
  try {
    if (detail::long_key(line) == line.npos) parsed = toml::parse(line);
  } catch (const toml::parse_error&) {
  } catch (const detail::TomlAssumption&) {
  }
  if (parsed.size() != 1 || !parsed.contains("x")) {
    parsed.clear();
    parsed.insert("x", value);
  }
  toml::node* at = &table;
  for (std::size_t begin = 0;;) {
    std::size_t dot = key.find('.', begin);
    std::string part = key.substr(begin, dot - begin);
    bool last = dot == key.npos;
    auto bad = [&] { fail(ErrorKind::usage, "flag.value", "--set: '", printable(key, 100), "' does not lead to a value: '", printable(part, 100), "' is not there"); };
    if (toml::array* a = at->as_array()) {
      std::size_t i = 0;
      for (char c : part) {
        if (c < '0' || c > '9' || i > a->size()) bad();
        i = i * 10 + static_cast<std::size_t>(c - '0');
      }
      if (part.empty() || i >= a->size() || last) bad();
      at = a->get(i);
    } else if (toml::table* t = at->as_table()) {
      if (last) {
        t->insert_or_assign(part, *parsed.get("x"));
        return;
      }
      if (!t->contains(part)) t->insert(part, toml::table{});
      at = t->get(part);
    } else {
      bad();
    }
    begin = dot + 1;
  }
}

}  // namespace bam::io
