// Documents from files: .jsonl with one {"text": ...} a line, .txt (one document a file), .zst of either, and data folders
// <domain>/{train,validation,eval}/ (docs/formats.md, section 3).
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "../io/file.hpp"
#include "../io/hash.hpp"
#include "../io/json.hpp"
#include "../io/kind.hpp"
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
    fail(ErrorKind::input, "data.text", where, ": wanted an object with \"text\", got ", keys.empty() ? j.describe() : "one with " + keys,
         j.find("messages") || j.find("prompt") ? "; for examples to fine-tune on, format = \"chat\"" : "");
  }
  return {std::string(text->as_string(where + ": text"))};
}

// Error(input): the content is no JSON lines but something that people mix up with them.
inline void refuse_other_kinds(const std::string& file, std::string_view content) {
  const std::size_t first = std::min(content.find_first_not_of(" \t\r\n"), content.size());
  const std::string_view line = content.substr(first, content.find('\n', first) - first);
  auto refuse = [&](std::string_view kind) { fail(ErrorKind::input, "data.kind", printable(file, 4096), ": wanted one JSON object a line, this is ", kind); };
  if (const std::string_view kind = io::kind_of(content.substr(0, 1024)); !kind.empty()) refuse(kind);
  const std::string_view bare = line.substr(0, line.find_last_not_of(" \t\r") + 1);
  if (bare == "{" || bare == "[" || bare.starts_with("[{")) refuse("JSON over several lines or in one array; write each object on a line of its own, with jq -c '.[]' for instance");
  if (!bare.empty() && bare[0] != '{' && bare[0] != '[' && bare.find_first_of(",\t;") != bare.npos) refuse("a table (CSV or TSV); convert it to JSON lines");
}

// Calls f(line, "file:number") for each line of a .jsonl file that is not blank. Error(input): another kind of file.
template <class F>
void each_line(const std::string& file, std::string_view content, F&& f) {
  refuse_other_kinds(file, content);
  std::size_t number = 0;
  for (std::size_t at = 0; at < content.size();) {
    std::size_t end = std::min(content.find('\n', at), content.size());
    std::string_view line = content.substr(at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    f(line, str(printable(file, 4096), ":", number));
  }
}

inline void append_file(std::vector<Document>& out, const std::string& file) {
  std::string content = io::read_text(file);
  if (has_suffix(file, ".txt")) {
    const std::string_view kind = io::kind_of(std::string_view(content).substr(0, 1024));
    if (kind.starts_with("a ") || kind.starts_with("UTF-16")) fail(ErrorKind::input, "data.kind", printable(file, 4096), ": wanted UTF-8 text, this is ", kind);
    if (std::size_t at = valid_until(content, 0); at < content.size())
      fail(ErrorKind::input, "data.utf8", printable(file, 4096), ": byte ", at, " is no UTF-8; convert the file");
    if (!content.empty()) out.push_back({std::move(content)});
    return;
  }
  if (!has_suffix(file, ".jsonl")) fail(ErrorKind::input, "data.kind", printable(file, 4096), ": wanted .jsonl or .txt, or .zst of either");
  each_line(file, content, [&](std::string_view line, const std::string& where) { out.push_back(parse_document(line, where)); });
}

// 6 of 100, by the hash of their text.
inline bool held_out(std::string_view text) { return XXH3_64bits(text.data(), text.size()) % 100 < 6; }

// The items (documents, examples) of a file or of one split of a folder, as read_documents below says. append(out, file) reads a file;
// text_of(item) is what a split by hash goes by.
template <class Item, class Append, class Text>
std::vector<Item> read_split(const std::string& path, const std::string& split, const std::vector<std::string>& suffixes, Append append, Text text_of) {
  std::vector<Item> out;
  auto read = [&](const std::vector<std::string>& files) {
    for (const std::string& f : files) append(out, f);
  };
  if (!io::is_folder(path)) {
    read({path});
    return out;
  }
  auto files_of = [&](const std::string& folder) { return io::list_files(folder, suffixes); };
  auto sub = [&](const char* name) { return path + "/" + name; };
  std::string trimmed = path.substr(0, path.find_last_not_of('/') + 1), name = trimmed.substr(trimmed.rfind('/') + 1);
  bool is_split = name == "train" || name == "validation" || name == "eval" || name == "test";
  if (io::is_folder(sub(split.c_str()))) {
    read(files_of(sub(split.c_str())));
    if (split == "train" && !io::is_folder(sub("validation"))) std::erase_if(out, [&](const Item& i) { return held_out(text_of(i)); });
  } else if (io::is_folder(sub("train"))) {
    if (split != "validation") fail(ErrorKind::input, "data.split", printable(path, 4096), ": has no folder ", split);
    read(files_of(sub("train")));
    std::erase_if(out, [&](const Item& i) { return !held_out(text_of(i)); });
  } else {
    read(files_of(path));
    if (!is_split) std::erase_if(out, [&](const Item& i) { return held_out(text_of(i)) != (split == "validation"); });
  }
  return out;
}

}  // namespace detail

// The documents of a file, or of one split ("train", "validation", "eval") of a folder. A folder of files that is named
// after a split (train, validation, eval, test) is used whole; where another folder has no validation folder, 6% of its documents,
// chosen by their hash, are its validation and no part of its train. Order: files by name, lines as they are.
// Error(input): nothing there, a line that is no document, or no document at all.
inline std::vector<Document> read_documents(const std::string& path, const std::string& split) {
  auto out = detail::read_split<Document>(path, split, text_suffixes(), detail::append_file, [](const Document& d) -> std::string_view { return d.text; });
  if (out.empty()) fail(ErrorKind::input, "data.empty", printable(path, 4096), ": wanted documents (", split, "), found none; name a .jsonl or .txt file, or a folder with such files or train/ and validation/");
  return out;
}

}  // namespace bam::text
