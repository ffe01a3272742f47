// Documents from files: .jsonl with one {"text": ...} a line, .txt (one document a file), .zst of either, and data folders
// <domain>/{train,validation,eval}/ (FORMATS section 3).
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "../io/file.hpp"
#include "../io/hash.hpp"
#include "../io/json.hpp"
#include "unicode.hpp"

namespace bam::text {

struct Document {
  std::string text;
};

inline const std::vector<std::string>& text_suffixes() {
  static const std::vector<std::string> list{".jsonl", ".jsonl.zst", ".txt", ".txt.zst"};
  return list;
}

namespace detail {

inline bool has_suffix(std::string_view name, std::string_view suffix) { return name.ends_with(suffix) || name.ends_with(std::string(suffix) + ".zst"); }

// One line of a .jsonl file.
inline Document parse_document(std::string_view line, const std::string& where) {
  io::Json j = io::parse_json(line, where);
  const io::Json* text = j.find("text");
  if (!text) {
    std::string keys;
    if (j.is_object())
      for (auto [key, value] : j.members(where)) keys += str(keys.empty() ? "" : ", ", printable(key, 40));
    fail(ErrorKind::input, "data.text", where, ": wanted an object with \"text\", got ", keys.empty() ? j.describe() : "one with " + keys);
  }
  return {std::string(text->as_string(where + ": text"))};
}

inline void append_file(std::vector<Document>& out, const std::string& file) {
  std::string content = io::read_text(file);
  if (has_suffix(file, ".txt")) {
    if (std::size_t at = valid_until(content, 0); at < content.size())
      fail(ErrorKind::input, "data.utf8", printable(file, 4096), ": byte ", at, " is no UTF-8; convert the file");
    if (!content.empty()) out.push_back({std::move(content)});
    return;
  }
  if (!has_suffix(file, ".jsonl")) fail(ErrorKind::input, "data.kind", printable(file, 4096), ": wanted .jsonl or .txt, or .zst of either");
  std::size_t number = 0;
  for (std::size_t at = 0; at < content.size();) {
    std::size_t end = std::min(content.find('\n', at), content.size());
    std::string_view line = std::string_view(content).substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    out.push_back(parse_document(line, str(printable(file, 4096), ":", number)));
  }
}

inline std::vector<Document> read_files(const std::vector<std::string>& files) {
  std::vector<Document> out;
  for (const std::string& f : files) append_file(out, f);
  return out;
}

// 6 of 100 documents, by the hash of their text.
inline bool held_out(const Document& d) {
  return XXH3_64bits(d.text.data(), d.text.size()) % 100 < 6;
}

}  // namespace detail

// The documents of a file, or of one split ("train", "validation", "eval") of a folder. A folder of files that is named
// after a split (train, validation, eval, test) is used whole; where another folder has no validation folder, 6% of its documents,
// chosen by their hash, are its validation and no part of its train. Order: files by name, lines as they are.
// Error(input): nothing there, a line that is no document, or no document at all.
inline std::vector<Document> read_documents(const std::string& path, const std::string& split) {
  std::vector<Document> out;
  if (!io::is_folder(path)) {
    out = detail::read_files({path});
  } else {
    auto files_of = [&](const std::string& folder) { return io::list_files(folder, text_suffixes()); };
    auto sub = [&](const char* name) { return path + "/" + name; };
    std::string trimmed = path.substr(0, path.find_last_not_of('/') + 1), name = trimmed.substr(trimmed.rfind('/') + 1);
    bool is_split = name == "train" || name == "validation" || name == "eval" || name == "test";
    if (io::is_folder(sub(split.c_str()))) {
      out = detail::read_files(files_of(sub(split.c_str())));
      if (split == "train" && !io::is_folder(sub("validation"))) std::erase_if(out, detail::held_out);
    } else if (io::is_folder(sub("train"))) {
      if (split != "validation") fail(ErrorKind::input, "data.split", printable(path, 4096), ": has no folder ", split);
      out = detail::read_files(files_of(sub("train")));
      std::erase_if(out, [](const Document& d) { return !detail::held_out(d); });
    } else {
      out = detail::read_files(files_of(path));
      if (!is_split) std::erase_if(out, [&](const Document& d) { return detail::held_out(d) != (split == "validation"); });
    }
  }
  if (out.empty()) fail(ErrorKind::input, "data.empty", printable(path, 4096), ": wanted documents (", split, "), found none; name a .jsonl or .txt file, or a folder with such files or train/ and validation/");
  return out;
}

}  // namespace bam::text
