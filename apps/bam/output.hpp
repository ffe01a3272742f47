// What goes to stdout and stderr. With --json stdout carries one object and nothing else.
#pragma once
#include <fmt/format.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "bam/core/error.hpp"
#include "bam/io/json.hpp"
#include "verbs.hpp"

namespace bam::app {

// Writes and flushes; a closed, full or gone stdout is kind io.
inline void print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    fail(ErrorKind::io, "stdout.write", "stdout: cannot write: ", std::strerror(errno));
}
inline void print_json(const io::Json& json) { print(io::dump(json) + "\n"); }

namespace detail {
inline std::string held_notes;
inline const auto started = std::chrono::steady_clock::now();
}  // namespace detail

inline void release_notes() {
  std::fwrite(detail::held_notes.data(), 1, detail::held_notes.size(), stderr);
  std::fflush(stderr);
  detail::held_notes.clear();
}
// To stderr, as it is. What is said in the first two seconds is held until then, so that a command that fails at once says so
// in its first line.
inline void say(std::string_view text) {
  detail::held_notes += text;
  if (std::chrono::steady_clock::now() - detail::started > std::chrono::seconds(2)) release_notes();
}
// A line of progress or a remark; nothing with --quiet.
inline void note(const Common& common, std::string_view text) {
  if (!common.quiet) say(str(text, '\n'));
}

// Columns of text, aligned; the first is flush left, `right` says which others are flush right (all, by default).
struct Table {
  std::vector<std::vector<std::string>> rows;
  void add(std::vector<std::string> row) { rows.push_back(std::move(row)); }
  std::string text() const {
    std::vector<std::size_t> width;
    for (auto& row : rows)
      for (std::size_t i = 0; i < row.size(); ++i) {
        if (width.size() <= i) width.push_back(0);
        if (row.size() > 1) width[i] = std::max(width[i], row[i].size());
      }
    std::string out;
    for (auto& row : rows) {
      for (std::size_t i = 0; i < row.size(); ++i) {
        std::string pad(width[i] > row[i].size() ? width[i] - row[i].size() : 0, ' ');
        out += i == 0 ? row[i] + (row.size() > 1 ? pad : "") : "  " + pad + row[i];
      }
      out += '\n';
    }
    return out;
  }
};

// 1234567 -> "1,234,567".
inline std::string grouped(std::int64_t n) {
  std::string s = str(n);
  for (std::size_t i = s.size(); i > (n < 0 ? 4u : 3u); i -= 3) s.insert(i - 3, 1, ',');
  return s;
}
// 1536 -> "1.50 KiB".
inline std::string bytes_text(std::int64_t n) {
  static constexpr const char* unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto x = static_cast<double>(n);
  int u = 0;
  for (; x >= 1024 && u < 6; ++u) x /= 1024;
  return fmt::format("{:.{}f} {}", x, u == 0 ? 0 : 2, unit[u]);
}

}  // namespace bam::app
