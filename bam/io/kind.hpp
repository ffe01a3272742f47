// What a wrong file looks like, for error messages: "this is a git-lfs pointer" helps more than "not JSON".
#pragma once
#include <cstddef>
#include <string_view>

namespace bam::io {

// Name of the kind of file that starts with these bytes, or "" when it is none that people mix up with ours.
// A kilobyte of the start is enough.
inline std::string_view kind_of(std::string_view head) {
  using namespace std::string_view_literals;
  if (head.starts_with("version https://git-lfs")) return "a git-lfs pointer (run: git lfs pull)";
  if (head.starts_with("GGUF"sv)) return "a GGUF file";
  if (head.starts_with("PK\x03\x04"sv)) return "a zip archive (or a PyTorch .pt / .bin checkpoint)";
  if (head.starts_with("\x1f\x8b"sv)) return "a gzip archive";
  if (head.starts_with("\x28\xb5\x2f\xfd"sv)) return "a zstd archive";
  if (head.starts_with("PAR1"sv)) return "a Parquet file (convert it to JSON lines, with pandas or duckdb for instance)";
  if (head.starts_with("ARROW1"sv)) return "an Arrow file (convert it to JSON lines, with pandas or duckdb for instance)";
  if (head.starts_with("\x89HDF\r\n"sv)) return "an HDF5 file";
  if (head.starts_with("\x93NUMPY"sv)) return "a NumPy file";
  if (head.size() > 1 && head[0] == '\x80' && head[1] >= 2 && head[1] <= 5) return "a Python pickle";
  if (head.starts_with("\xef\xbb\xbf"sv)) return "text with a byte order mark (remove it)";
  if (head.starts_with("\xff\xfe"sv) || head.starts_with("\xfe\xff"sv)) return "UTF-16 text (convert it to UTF-8)";
  std::size_t nul[2] = {};  // at even and odd places: UTF-16 of mostly ASCII has them at one of the two
  for (std::size_t k = 0; k < head.size(); ++k) nul[k % 2] += head[k] == '\0';
  if (head.size() >= 16 && (nul[0] == 0) != (nul[1] == 0) && 4 * (nul[0] + nul[1]) >= head.size()) return "UTF-16 text (convert it to UTF-8)";
  std::size_t i = head.find_first_not_of(" \t\r\n"sv);
  if (i == head.npos) return "";
  std::string_view text = head.substr(i);
  auto starts = [&](std::string_view word) {
    if (text.size() < word.size()) return false;
    for (std::size_t k = 0; k < word.size(); ++k) {
      char c = text[k];
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
      if (c != word[k]) return false;
    }
    return true;
  };
  if (starts("<!doctype html") || starts("<html")) return "an HTML page (a failed download?)";
  if (starts("<?xml")) return "an XML file";
  return "";
}

}  // namespace bam::io
