// Byte-level BPE from a Hugging Face tokenizer.json, in Cohere's layout (NFC, digits one by one, the GPT-2 pattern) and in
// GPT-2's. Ids equal those of the reference library; a setting that would give others is refused by name. Strings of special
// tokens inside a text are text.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "../io/file.hpp"
#include "../io/json.hpp"
#include "bpe.hpp"
#include "pattern.hpp"
#include "unicode.hpp"

namespace bam::text {

// What happens to a text before the merges.
struct PreTokenization {
  bool nfc = true;
  bool split_digits = true, individual_digits = true;
  bool gpt2_pattern = true;
  bool add_prefix_space = false;

  // Calls f(word) for each word, in order.
  template <class F>
  void words(std::string_view text, const Gpt2Pattern& pattern, F&& f) const {
    std::string normal;
    if (nfc) text = normal = text::nfc(text);
    auto piece = [&](std::string_view p) {
      std::string prefixed;
      if (add_prefix_space && !p.starts_with(' ')) p = prefixed = " " + std::string(p);
      if (gpt2_pattern) pattern.split(p, f);
      else f(p);
    };
    if (split_digits) text::split_digits(text, individual_digits, piece);
    else if (!text.empty()) piece(text);
  }
};

// Encoding is for one thread at a time: words seen before are remembered.
class Tokenizer {
 public:
  // A token that stands outside the merges.
  struct Special {
    std::string content;
    std::int32_t id;
  };

  static constexpr std::uint64_t most_bytes = std::uint64_t{1} << 28;
  static Tokenizer load(const std::string& file) { return parse(io::parse_json(io::read_file(file, most_bytes), file), file); }
  static Tokenizer parse(const io::Json& json, const std::string& where);

  std::int64_t vocab_size() const { return static_cast<std::int64_t>(tokens_.size()); }
  // -1 where there is none.
  static constexpr auto bos_names = std::to_array<std::string_view>({"<BOS>", "<BOS_TOKEN>", "<s>", "<|begin_of_text|>", "<|endoftext|>"});
  static constexpr auto eos_names = std::to_array<std::string_view>({"<EOS>", "<EOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "</s>", "<|end_of_text|>", "<|endoftext|>"});
  std::int32_t bos_id() const { return first_of(bos_names); }
  std::int32_t eos_id() const { return first_of(eos_names); }
  std::int32_t pad_id() const { return first_of(std::to_array<std::string_view>({"<PAD>", "<pad>"})); }
  std::int32_t special_id(std::string_view content) const { return first_of({&content, 1}); }
  bool is_special(std::int32_t id) const { return id >= 0 && id < vocab_size() && is_special_[static_cast<std::size_t>(id)]; }

  std::vector<std::int32_t> encode(std::string_view text) const {
    std::vector<std::int32_t> ids, word_ids;
    pre_.words(text, *pattern_, [&](std::string_view word) {
      if (word.size() > remembered_length) {
        encode_word(word, word_ids);
      } else if (auto it = cache_.find(word); it != cache_.end()) {
        ids.insert(ids.end(), it->second.begin(), it->second.end());
        return;
      } else {
        encode_word(word, word_ids);
        if (cache_.size() >= remembered_words) cache_.clear();
        cache_.emplace(word, word_ids);
      }
      ids.insert(ids.end(), word_ids.begin(), word_ids.end());
    });
    return ids;
  }

  // The bytes of the tokens, which need not be whole UTF-8; special tokens are left out unless asked for.
  std::string decode(std::span<const std::int32_t> ids, bool with_specials = false) const {
    std::string out;
    for (std::int32_t id : ids) {
      if (id < 0 || id >= vocab_size()) fail(ErrorKind::input, "tokenizer.id", "decode: id ", id, " is not in a vocabulary of ", vocab_size());
      if (with_specials || !is_special_[static_cast<std::size_t>(id)]) out += tokens_[static_cast<std::size_t>(id)];
    }
    return out;
  }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };
  using Words = std::unordered_map<std::string, std::vector<std::int32_t>, Hash, std::equal_to<>>;
  static constexpr std::size_t remembered_length = 64, remembered_words = std::size_t{1} << 18;

  void encode_word(std::string_view word, std::vector<std::int32_t>& ids) const {
    ids.clear();
    if (ignore_merges_)
      if (auto it = whole_.find(word); it != whole_.end()) return ids.assign(1, it->second);
    for (char c : word) ids.push_back(byte_id_[static_cast<unsigned char>(c)]);
    apply_merges(merges_, ids);
  }
  std::int32_t first_of(std::span<const std::string_view> names) const {
    for (std::string_view name : names)
      for (const Special& s : specials_)
        if (s.content == name) return s.id;
    return -1;
  }

  PreTokenization pre_;
  bool ignore_merges_ = false;
  MergeTable merges_;
  std::array<std::int32_t, 256> byte_id_{};
  std::vector<std::string> tokens_;  // as bytes
  std::vector<bool> is_special_;
  std::vector<Special> specials_;
  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> whole_;  // only for ignore_merges
  std::shared_ptr<const Gpt2Pattern> pattern_ = std::make_shared<Gpt2Pattern>();
  mutable Words cache_;
};

namespace detail {

[[noreturn]] inline void refuse_tokenizer(const std::string& where, std::string_view key, const std::string& found, std::string_view wanted) {
  fail(ErrorKind::input, "tokenizer.unsupported", where, ": ", key, " is ", printable(found), "; wanted ", wanted, "; this tokenizer would give other ids here");
}
inline std::string type_of(const io::Json& j, const std::string& where) { return std::string(j.at("type", where).as_string(where)); }
inline bool flag(const io::Json& j, const char* key, bool absent, const std::string& where) {
  const io::Json* v = j.find(key);
  return !v || v->is_null() ? absent : v->as_bool(str(where, ": ", key));
}

inline void read_normalizer(const io::Json& j, PreTokenization& pre, const std::string& where) {
  if (j.is_null()) return;
  std::string type = type_of(j, where + ": normalizer");
  if (type == "NFC") {
    pre.nfc = true;
  } else if (type == "Sequence") {
    for (const io::Json& part : j.at("normalizers", where).items(where + ": normalizers")) read_normalizer(part, pre, where);
  } else {
    refuse_tokenizer(where, "normalizer", type, "NFC or null");
  }
}

inline void read_pre_tokenizer(const io::Json& j, PreTokenization& pre, bool& byte_level, const std::string& where) {
  const char* wanted = "ByteLevel, or Digits and then ByteLevel";
  if (j.is_null()) refuse_tokenizer(where, "pre_tokenizer", "null", wanted);
  std::string type = type_of(j, where + ": pre_tokenizer");
  if (type == "Sequence") {
    for (const io::Json& part : j.at("pretokenizers", where).items(where + ": pretokenizers")) read_pre_tokenizer(part, pre, byte_level, where);
  } else if (type == "Digits" && !byte_level && !pre.split_digits) {
    pre.split_digits = true;
    pre.individual_digits = flag(j, "individual_digits", false, where);
  } else if (type == "ByteLevel" && !byte_level) {
    byte_level = true;
    pre.add_prefix_space = flag(j, "add_prefix_space", true, where);
    pre.gpt2_pattern = flag(j, "use_regex", true, where);
  } else {
    refuse_tokenizer(where, "pre_tokenizer", type, wanted);
  }
}

// What a file has the library put around a text: BOS and EOS are put there here too, by the model's config; anything else is refused.
inline void check_post_processor(const io::Json& j, const std::string& where) {
  if (j.is_null()) return;
  const std::string type = type_of(j, where + ": post_processor");
  auto allow = [&](std::string_view token, bool before) {
    const std::span<const std::string_view> names = before ? std::span<const std::string_view>(Tokenizer::bos_names) : Tokenizer::eos_names;
    if (std::find(names.begin(), names.end(), token) == names.end())
      refuse_tokenizer(where, "post_processor", str(type, " that puts ", token, before ? " before" : " behind", " a text"), "BOS before and EOS behind it at most, or null");
  };
  if (type == "ByteLevel") return;
  if (type == "Sequence") {
    for (const io::Json& part : j.at("processors", where).items(where + ": processors")) check_post_processor(part, where);
  } else if (type == "TemplateProcessing") {
    bool before = true;
    for (const io::Json& piece : j.at("single", where).items(where + ": post_processor: single"))
      if (const io::Json* token = piece.find("SpecialToken")) allow(token->at("id", where).as_string(where + ": post_processor"), before);
      else before = false;
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    for (const char* key : {"cls", "sep"}) {
      const io::Json& pair = j.at(key, where);
      if (pair.items(where + ": post_processor").size() == 0) refuse_tokenizer(where, "post_processor", type + " without tokens", "two of them");
      allow(pair.at(0).as_string(where + ": post_processor"), key[0] == 'c');
    }
  } else {
    refuse_tokenizer(where, "post_processor", type, "ByteLevel, TemplateProcessing or null");
  }
}

}  // namespace detail

inline Tokenizer Tokenizer::parse(const io::Json& json, const std::string& where) {
  using detail::flag;
  using detail::refuse_tokenizer;
  Tokenizer t;
  t.pre_ = {false, false, false, false, false};
  if (const io::Json* normalizer = json.find("normalizer")) detail::read_normalizer(*normalizer, t.pre_, where);
  bool byte_level = false;
  detail::read_pre_tokenizer(json.at("pre_tokenizer", where), t.pre_, byte_level, where);
  if (!byte_level) refuse_tokenizer(where, "pre_tokenizer", "without ByteLevel", "ByteLevel");

  if (const io::Json* decoder = json.find("decoder"); decoder && !decoder->is_null())
    if (const std::string type = detail::type_of(*decoder, where + ": decoder"); type != "ByteLevel") refuse_tokenizer(where, "decoder", type, "ByteLevel or null");

  for (const char* key : {"truncation", "padding"})
    if (const io::Json* v = json.find(key); v && !v->is_null()) refuse_tokenizer(where, key, v->describe(), "null");
  if (const io::Json* post = json.find("post_processor")) detail::check_post_processor(*post, where);

  const io::Json& model = json.at("model", where);
  if (const io::Json* type = model.find("type"); type && type->as_string(where) != "BPE") refuse_tokenizer(where, "model.type", std::string(type->as_string(where)), "BPE");
  if (const io::Json* dropout = model.find("dropout"); dropout && !dropout->is_null() && dropout->as_double(where) > 0) refuse_tokenizer(where, "model.dropout", dropout->describe(), "null");
  if (flag(model, "byte_fallback", false, where)) refuse_tokenizer(where, "model.byte_fallback", "true", "false");
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const io::Json* v = model.find(key); v && !v->is_null() && !v->as_string(where).empty()) refuse_tokenizer(where, str("model.", key), v->describe(), "none");
  t.ignore_merges_ = flag(model, "ignore_merges", false, where);

  struct Entry {
    std::string_view token;
    std::int32_t id;
    bool special;
  };
  std::vector<Entry> entries;
  std::unordered_map<std::string_view, std::size_t> place;  // in entries, of the vocabulary
  const std::int64_t max_id = std::int64_t{1} << 24;
  for (auto [token, value] : model.at("vocab", where).members(where + ": model.vocab")) {
    auto id = static_cast<std::int32_t>(value.as_int(str(where, ": id of '", printable(token), "'"), 0, max_id));
    place.emplace(token, entries.size());
    entries.push_back({token, id, false});
  }
  if (const io::Json* added = json.find("added_tokens"); added && !added->is_null())
    for (const io::Json& a : added->items(where + ": added_tokens")) {
      std::string_view content = a.at("content", where).as_string(where + ": added_tokens: content");
      auto id = static_cast<std::int32_t>(a.at("id", where).as_int(where + ": added_tokens: id", 0, max_id));
      if (content.empty()) fail(ErrorKind::input, "tokenizer.special", where, ": added_tokens: id ", id, " has an empty content; wanted some text");
      if (const auto it = place.find(content); it == place.end()) {
        entries.push_back({content, id, true});
      } else {
        Entry& e = entries[it->second];
        if (e.id != id) fail(ErrorKind::input, "tokenizer.id", where, ": '", printable(content), "' has id ", e.id, " in the vocabulary and ", id, " among the added tokens");
        e.special = true;
      }
      t.specials_.push_back({std::string(content), id});
    }
  t.tokens_.resize(entries.size());
  t.is_special_.assign(entries.size(), false);
  std::vector<bool> seen(entries.size(), false);
  t.byte_id_.fill(-1);
  for (const Entry& e : entries) {
    auto i = static_cast<std::size_t>(e.id);
    if (i >= entries.size() || seen[i])
      fail(ErrorKind::input, "tokenizer.id", where, ": ", entries.size(), " tokens, wanted ids 0 to ", entries.size() - 1, ", each once; '", printable(e.token), "' has ", e.id);
    seen[i] = true;
    t.is_special_[i] = e.special;
    if (e.special || !alphabet_to_bytes(e.token, t.tokens_[i])) {
      t.tokens_[i] = e.token;
      continue;
    }
    if (t.tokens_[i].size() == 1) t.byte_id_[static_cast<unsigned char>(t.tokens_[i][0])] = e.id;
    if (t.ignore_merges_) t.whole_.emplace(t.tokens_[i], e.id);
  }
  for (std::size_t b = 0; b < 256; ++b)
    if (t.byte_id_[b] < 0) fail(ErrorKind::input, "tokenizer.bytes", where, ": byte ", b, " has no token; wanted a byte-level vocabulary with all 256");

  const auto merges = model.at("merges", where).items(where + ": model.merges");
  t.merges_.reserve(merges.size());
  std::uint32_t rank = 0;
  std::string joined;
  for (const io::Json& m : merges) {
    std::string at = str(where, ": merge ", rank);
    std::string_view left, right;
    if (m.is_string()) {
      std::string_view both = m.as_string(at);
      std::size_t space = both.find(' ');
      if (space == both.npos) fail(ErrorKind::input, "tokenizer.merge", at, ": wanted two tokens, got '", printable(both), "'");
      left = both.substr(0, space);
      right = both.substr(space + 1);
    } else {
      if (m.items(at).size() != 2) fail(ErrorKind::input, "tokenizer.merge", at, ": wanted two tokens, got ", m.items(at).size());
      left = m.at(0).as_string(at);
      right = m.at(1).as_string(at);
    }
    joined.assign(left).append(right);
    const auto l = place.find(left), r = place.find(right), both = place.find(joined);
    if (l == place.end() || r == place.end() || both == place.end())
      fail(ErrorKind::input, "tokenizer.merge", at, ": '", printable(left), "' and '", printable(right), "': these or what they make is not in the vocabulary");
    t.merges_.set(entries[l->second].id, entries[r->second].id, rank++, entries[both->second].id);
  }
  return t;
}

}  // namespace bam::text
