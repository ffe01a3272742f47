// Training a byte-level BPE vocabulary: from bytes, the most frequent adjacent pair of tokens becomes a token, again and
// again (Sennrich et al., 2016); of equal pairs the one of lower ids. Counts are exact after every merge.
#pragma once
#include <algorithm>
#include <cstdint>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "../io/json.hpp"
#include "tokenizer.hpp"

namespace bam::text {

class BpeTrainer {
 public:
  explicit BpeTrainer(PreTokenization pre = {}) : pre_(pre) {}

  void add(std::string_view text) {
    pre_.words(text, pattern_, [&](std::string_view word) { ++words_[std::string(word)]; });
  }

  // The tokenizer.json of vocab_size tokens: <PAD> 0, <BOS> 1, <EOS> 2, further special tokens, the 256 bytes, then one token a
  // merge. Fewer tokens when the text has no further pair.
  io::Json train(std::int64_t vocab_size, const std::vector<std::string>& specials = {});

 private:
  PreTokenization pre_;
  Gpt2Pattern pattern_;
  std::unordered_map<std::string, std::int64_t> words_;
};

namespace detail {

inline io::Json tokenizer_json(const PreTokenization& pre, const std::vector<std::string>& tokens, const std::vector<std::pair<std::int32_t, std::int32_t>>& merges, std::size_t specials) {
  using io::Json;
  Json added = Json::array(), vocab = Json::object(), list = Json::array();
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    vocab.add(tokens[i], static_cast<std::int64_t>(i));
    if (i < specials)
      added.push_back(Json::object({{"id", static_cast<std::int64_t>(i)}, {"content", tokens[i]}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}, {"special", true}}));
  }
  for (auto [l, r] : merges) list.push_back(Json::array({tokens[static_cast<std::size_t>(l)], tokens[static_cast<std::size_t>(r)]}));
  Json byte_level = Json::object({{"type", "ByteLevel"}, {"add_prefix_space", pre.add_prefix_space}, {"trim_offsets", true}, {"use_regex", pre.gpt2_pattern}});
  Json pre_tokenizer = byte_level;
  if (pre.split_digits)
    pre_tokenizer = Json::object({{"type", "Sequence"}, {"pretokenizers", Json::array({Json::object({{"type", "Digits"}, {"individual_digits", pre.individual_digits}}), byte_level})}});
  Json j = Json::object({{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}});
  j.set("added_tokens", std::move(added));
  j.set("normalizer", pre.nfc ? Json::object({{"type", "NFC"}}) : Json());
  j.set("pre_tokenizer", std::move(pre_tokenizer));
  j.set("post_processor", nullptr);
  j.set("decoder", Json::object({{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}));
  Json model = Json::object({{"type", "BPE"}, {"dropout", nullptr}, {"unk_token", nullptr}, {"continuing_subword_prefix", nullptr}, {"end_of_word_suffix", nullptr}, {"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", false}});
  model.set("vocab", std::move(vocab));
  model.set("merges", std::move(list));
  j.set("model", std::move(model));
  return j;
}

}  // namespace detail

inline io::Json BpeTrainer::train(std::int64_t vocab_size, const std::vector<std::string>& further) {
  std::vector<std::string> tokens{"<PAD>", "<BOS>", "<EOS>"};
  for (const std::string& s : further) {
    // No byte is spelled so, and no merge: the pattern parts letters from brackets.
    if (s.size() < 3 || s.front() != '<' || s.back() != '>' || std::none_of(s.begin(), s.end(), [](char c) { return (c | 32) >= 'a' && (c | 32) <= 'z'; }) || detail::valid_until(s, 0) != s.size())
      fail(ErrorKind::usage, "tokenizer.special", "tokenizer: wanted special tokens like <|USER_TOKEN|>, with letters between < and >, got '", printable(s, 100), "'");
    if (std::find(tokens.begin(), tokens.end(), s) != tokens.end()) fail(ErrorKind::usage, "tokenizer.special", "tokenizer: the special token ", printable(s, 100), " is there already; name each once");
    tokens.push_back(s);
  }
  const std::size_t specials = tokens.size();
  // The bytes in the order of their characters, as the reference trainer has them.
  std::vector<std::pair<std::uint16_t, unsigned>> alphabet;
  for (unsigned b = 0; b < 256; ++b) alphabet.emplace_back(byte_alphabet()[b], b);
  std::sort(alphabet.begin(), alphabet.end());
  std::array<std::int32_t, 256> byte_id{};
  for (auto [c, b] : alphabet) {
    byte_id[b] = static_cast<std::int32_t>(tokens.size());
    tokens.push_back(bytes_to_alphabet(std::string(1, static_cast<char>(b))));
  }
  check(vocab_size >= static_cast<std::int64_t>(tokens.size()), "tokenizer.size", "tokenizer: wanted at least ", tokens.size(), " tokens (special tokens and bytes), got ", vocab_size);

  struct Word {
    std::vector<std::int32_t> ids;
    std::int64_t count;
  };
  std::vector<Word> words;
  {
    std::vector<std::pair<std::string, std::int64_t>> sorted(words_.begin(), words_.end());
    std::sort(sorted.begin(), sorted.end());
    for (auto& [text, count] : sorted) {
      Word w{{}, count};
      for (char c : text) w.ids.push_back(byte_id[static_cast<unsigned char>(c)]);
      if (w.ids.size() > 1) words.push_back(std::move(w));
    }
  }
  auto key = [](std::int32_t l, std::int32_t r) { return std::uint64_t{static_cast<std::uint32_t>(l)} << 32 | static_cast<std::uint32_t>(r); };
  struct Pair {
    std::int64_t count = 0;
    std::vector<std::uint32_t> words;  // that hold it, or once did
  };
  std::unordered_map<std::uint64_t, Pair> pairs;
  auto enlist = [&](std::uint64_t k, std::uint32_t word) {
    auto& list = pairs[k].words;
    if (list.empty() || list.back() != word) list.push_back(word);
  };
  for (std::uint32_t w = 0; w < words.size(); ++w)
    for (std::size_t i = 0; i + 1 < words[w].ids.size(); ++i) {
      std::uint64_t k = key(words[w].ids[i], words[w].ids[i + 1]);
      pairs[k].count += words[w].count;
      enlist(k, w);
    }
  struct Candidate {
    std::int64_t count;
    std::uint64_t key;
    bool operator<(const Candidate& o) const { return count != o.count ? count < o.count : key > o.key; }
  };
  std::priority_queue<Candidate> queue;
  for (auto& [k, p] : pairs) queue.push({p.count, k});

  std::vector<std::pair<std::int32_t, std::int32_t>> merges;
  std::unordered_map<std::string, std::int32_t> known;  // two pairs may spell the same token
  for (std::size_t i = specials; i < tokens.size(); ++i) known.emplace(tokens[i], static_cast<std::int32_t>(i));
  while (static_cast<std::int64_t>(tokens.size()) < vocab_size && !queue.empty()) {
    Candidate top = queue.top();
    queue.pop();
    Pair& pair = pairs[top.key];
    if (top.count != pair.count) {
      if (pair.count > 0) queue.push({pair.count, top.key});
      continue;
    }
    if (top.count < 1) break;
    auto left = static_cast<std::int32_t>(top.key >> 32), right = static_cast<std::int32_t>(top.key & 0xffffffffu);
    std::string spelled = tokens[static_cast<std::size_t>(left)] + tokens[static_cast<std::size_t>(right)];
    auto [it, fresh] = known.emplace(spelled, static_cast<std::int32_t>(tokens.size()));
    std::int32_t id = it->second;
    if (fresh) tokens.push_back(spelled);
    merges.emplace_back(left, right);
    std::vector<std::uint64_t> touched;
    std::vector<std::uint32_t> holders = std::move(pair.words);
    for (std::uint32_t w : holders) {
      auto& ids = words[w].ids;
      std::int64_t count = words[w].count;
      auto found = [&](std::size_t i) { return ids[i] == left && ids[i + 1] == right; };
      std::size_t first = 0;
      while (first + 1 < ids.size() && !found(first)) ++first;
      if (first + 1 >= ids.size()) continue;
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) pairs[key(ids[i], ids[i + 1])].count -= count;
      std::size_t to = first;
      for (std::size_t i = first; i < ids.size(); ++to) {
        bool merge = i + 1 < ids.size() && found(i);
        std::int32_t next = merge ? id : ids[i];
        i += merge ? 2 : 1;
        ids[to] = next;
      }
      ids.resize(to);
      for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
        std::uint64_t k = key(ids[i], ids[i + 1]);
        pairs[k].count += count;
        if (ids[i] == id || ids[i + 1] == id) {
          enlist(k, w);
          touched.push_back(k);
        }
      }
    }
    std::sort(touched.begin(), touched.end());
    touched.erase(std::unique(touched.begin(), touched.end()), touched.end());
    for (std::uint64_t k : touched) queue.push({pairs[k].count, k});
  }
  return detail::tokenizer_json(pre_, tokens, merges, specials);
}

}  // namespace bam::text
