// The tokenizer against the ids of the reference library (tests/data/tokenizer/make_cases.py), what it refuses, and the trainer.
#include "bam/text/tokenizer.hpp"

#include <map>
#include <set>

#include "bam/core/random.hpp"
#include "bam/text/bpe_train.hpp"
#include "support.hpp"

namespace bam::tokenizer_test {

using namespace bam::text;
using io::Json;
using test::error_of;
using test::has;

namespace {
const std::string folder = std::string(BAM_TEST_DATA) + "/data/tokenizer/";

Json read_json(const std::string& name) { return io::parse_json(io::read_file(folder + name), name); }
Tokenizer tokenizer(const char* name) { return Tokenizer::load(folder + name + std::string(".json")); }

std::vector<std::int32_t> ids_of(const Json& list) {
  std::vector<std::int32_t> ids;
  for (const Json& id : list.items("ids")) ids.push_back(static_cast<std::int32_t>(id.as_int("id")));
  return ids;
}

// One merge at a time, the lowest rank, leftmost: the definition.
std::vector<std::int32_t> slow_merges(const MergeTable& table, std::vector<std::int32_t> ids) {
  while (true) {
    const MergeTable::Entry* best = nullptr;
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i)
      if (auto* e = table.find(ids[i], ids[i + 1]); e && (!best || e->rank < best->rank)) {
        best = e;
        at = i;
      }
    if (!best) return ids;
    ids[at] = best->id;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

Json small() { return read_json("cohere.json"); }
// The file with one change, which has to be refused.
template <class F>
std::string refused(F change) {
  Json j = small();
  change(j);
  return error_of(ErrorKind::input, [&] { Tokenizer::parse(j, "t.json"); });
}
Json with_model(Json j, const char* key, Json value) {
  Json model = j.at("model");
  model.set(key, std::move(value));
  j.set("model", std::move(model));
  return j;
}
std::string refused_model(const char* key, Json value) {
  return refused([&](Json& j) { j = with_model(j, key, std::move(value)); });
}
}  // namespace

TEST_CASE("tokenizer: ids of the reference library, and back") {
  Json cases = read_json("cases.json");
  Tokenizer cohere = tokenizer("cohere"), gpt2 = tokenizer("gpt2");
  std::size_t count = 0, composed = 0, longest = 0;
  for (const Json& c : cases.items("cases")) {
    std::string text(c.at("text").as_string("text"));
    std::string normal(c.find("nfc") ? c.at("nfc").as_string("nfc") : text);
    CAPTURE(printable(text));
    std::vector<std::int32_t> a = cohere.encode(text), b = gpt2.encode(text);
    CHECK(a == ids_of(c.at("cohere")));
    CHECK(b == ids_of(c.at("gpt2")));
    CHECK(cohere.encode(text) == a);  // remembered words give the same
    CHECK(nfc(text) == normal);
    CHECK(cohere.decode(a) == normal);
    CHECK(gpt2.decode(b) == text);
    ++count;
    composed += c.find("nfc") != nullptr;
    longest = std::max(longest, text.size());
  }
  CHECK(count >= 200);
  CHECK(composed >= 20);
  CHECK(longest >= 200);
}

TEST_CASE("tokenizer: any bytes come back") {
  Tokenizer cohere = tokenizer("cohere"), gpt2 = tokenizer("gpt2");
  Random random(3);
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (std::uint64_t n = random.below(80); n > 0; --n) text += static_cast<char>(random.below(i % 2 ? 256 : 8) + (i % 2 ? 0 : 0xc0));
    CAPTURE(printable(text));
    CHECK(gpt2.decode(gpt2.encode(text)) == text);
    CHECK(cohere.decode(cohere.encode(text)) == nfc(text));
  }
  // Invalid bytes are kept where they are, and what is around them is composed.
  CHECK(nfc("e\xcc\x81\xff" "e\xcc\x81\xc3") == "\xc3\xa9\xff\xc3\xa9\xc3");
  CHECK(cohere.decode(cohere.encode("\xed\xa0\x80")) == "\xed\xa0\x80");
}

TEST_CASE("tokenizer: words of every length, the heap and the scan agree with the definition") {
  Tokenizer t = tokenizer("gpt2");
  MergeTable table;
  Json j = read_json("gpt2.json");
  std::map<std::string, std::int32_t> vocab;
  for (auto [token, id] : j.at("model").at("vocab").members("vocab")) vocab[std::string(token)] = static_cast<std::int32_t>(id.as_int("id"));
  std::uint32_t rank = 0;
  for (const Json& m : j.at("model").at("merges").items("merges")) {
    std::string both(m.as_string("merge"));
    std::string left = both.substr(0, both.find(' ')), right = both.substr(both.find(' ') + 1);
    table.set(vocab.at(left), vocab.at(right), rank++, vocab.at(left + right));
  }
  CHECK(table.size() == rank);
  Random random(5);
  for (std::size_t n : std::initializer_list<std::size_t>{1, 2, 3, 7, 31, 63, 64, 65, 66, 100, 257, 900}) {
    for (int repeat = 0; repeat < 6; ++repeat) {
      // Letters only, so that the pattern leaves it whole; few of them, so that many merges apply.
      std::string word;
      std::uint64_t letters = repeat == 0 ? 1 : 3 + static_cast<std::uint64_t>(repeat) * 4;
      for (std::size_t i = 0; i < n; ++i) word += "etaoinshrdlucmfwygpbvk"[random.below(std::min<std::uint64_t>(letters, 22))];
      std::vector<std::int32_t> ids;
      for (char c : word) ids.push_back(vocab.at(std::string(1, c)));
      CAPTURE(word);
      std::vector<std::int32_t> wanted = slow_merges(table, ids);
      apply_merges(table, ids);
      CHECK(ids == wanted);
      CHECK(t.encode(word) == wanted);
    }
  }
}

TEST_CASE("tokenizer: special tokens") {
  Tokenizer t = tokenizer("cohere"), g = tokenizer("gpt2");
  CHECK(t.vocab_size() == 600);
  CHECK(t.pad_id() == 0);
  CHECK(t.bos_id() == 1);
  CHECK(t.eos_id() == 2);
  CHECK(g.bos_id() == 599);
  CHECK(g.eos_id() == 599);
  CHECK(g.pad_id() == -1);
  for (std::int32_t id : t.encode("<PAD><BOS><EOS>")) CHECK(id > 2);  // in a text they are text
  std::vector<std::int32_t> ids = t.encode("ab");
  ids.insert(ids.begin(), 1);
  ids.push_back(2);
  CHECK(t.decode(ids) == "ab");
  CHECK(t.decode(ids, true) == "<BOS>ab<EOS>");
  CHECK(has(error_of(ErrorKind::input, [&] { t.decode(std::vector<std::int32_t>{600}); }), "tokenizer.id: decode: id 600"));
  CHECK(has(error_of(ErrorKind::input, [&] { t.decode(std::vector<std::int32_t>{-1}); }), "tokenizer.id: decode: id -1"));
}

TEST_CASE("tokenizer: settings that would give other ids are refused by name") {
  REQUIRE(refused([](Json&) {}) == "");
  auto unsupported = [](const std::string& message, const char* key) {
    CAPTURE(message);
    CHECK(message.starts_with("tokenizer.unsupported: t.json: "));
    CHECK(has(message, key));
  };
  for (const char* type : {"Unigram", "WordPiece", "WordLevel"}) unsupported(refused_model("type", type), type);
  unsupported(refused_model("dropout", 0.1), "model.dropout");
  unsupported(refused_model("byte_fallback", true), "model.byte_fallback");
  unsupported(refused_model("continuing_subword_prefix", "##"), "model.continuing_subword_prefix");
  unsupported(refused_model("end_of_word_suffix", "</w>"), "model.end_of_word_suffix");
  CHECK(refused_model("dropout", 0.0) == "");
  CHECK(refused_model("end_of_word_suffix", "") == "");
  for (const char* type : {"NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Replace", "Prepend"})
    unsupported(refused([&](Json& j) { j.set("normalizer", Json::object({{"type", type}})); }), type);
  auto sequence = [](const char* key, Json first, Json second) {
    return Json::object({{"type", "Sequence"}, {key, Json::array({std::move(first), std::move(second)})}});
  };
  unsupported(refused([&](Json& j) {
                j.set("normalizer", sequence("normalizers", Json::object({{"type", "NFC"}}), Json::object({{"type", "Lowercase"}})));
              }),
              "Lowercase");
  Json digits = Json::object({{"type", "Digits"}, {"individual_digits", true}}), bytes = Json::object({{"type", "ByteLevel"}, {"add_prefix_space", false}});
  for (const char* type : {"Whitespace", "Split", "Metaspace", "BertPreTokenizer"})
    unsupported(refused([&](Json& j) { j.set("pre_tokenizer", Json::object({{"type", type}})); }), type);
  unsupported(refused([&](Json& j) { j.set("pre_tokenizer", Json()); }), "pre_tokenizer");
  unsupported(refused([&](Json& j) { j.set("pre_tokenizer", digits); }), "ByteLevel");
  unsupported(refused([&](Json& j) { j.set("pre_tokenizer", sequence("pretokenizers", bytes, digits)); }), "Digits");
  unsupported(refused([&](Json& j) { j.set("pre_tokenizer", sequence("pretokenizers", bytes, bytes)); }), "ByteLevel");
  CHECK(refused([&](Json& j) { j.set("pre_tokenizer", sequence("pretokenizers", digits, bytes)); }) == "");
  for (const char* key : {"truncation", "padding"}) {
    unsupported(refused([&](Json& j) { j.set(key, Json::object({{"max_length", 8}})); }), key);
    CHECK(refused([&](Json& j) { j.set(key, Json()); }) == "");
  }
  // What the files of Cohere and Llama have: BOS in front, the end of a turn behind. No other token.
  auto processed = [&](Json post) { return refused([&](Json& j) { j.set("post_processor", std::move(post)); }); };
  auto around = [](std::initializer_list<const char*> pieces) {
    Json single = Json::array();
    for (const char* piece : pieces) single.push_back(Json::object({{*piece ? "SpecialToken" : "Sequence", Json::object({{"id", *piece ? piece : "A"}, {"type_id", 0}})}}));
    return Json::object({{"type", "TemplateProcessing"}, {"single", std::move(single)}});
  };
  const Json level = Json::object({{"type", "ByteLevel"}, {"trim_offsets", true}});
  CHECK(processed(level) == "");
  CHECK(processed(around({"<BOS_TOKEN>", "", "<|END_OF_TURN_TOKEN|>", "<EOS_TOKEN>"})) == "");
  CHECK(processed(sequence("processors", level, around({"<|begin_of_text|>", ""}))) == "");
  unsupported(processed(around({"[CLS]", "", "</s>"})), "post_processor is TemplateProcessing that puts [CLS] before a text");
  unsupported(processed(sequence("processors", level, around({"<s>", "", "[SEP]"}))), "puts [SEP] behind a text");
  unsupported(processed(Json::object({{"type", "BertProcessing"}, {"sep", Json::array({"[SEP]", 2})}, {"cls", Json::array({"<s>", 1})}})), "[SEP]");
  unsupported(processed(Json::object({{"type", "Other"}})), "post_processor is Other");
}

TEST_CASE("tokenizer: damaged vocabularies and merges are refused") {
  auto vocab = [](auto change) {
    return refused([&](Json& j) {
      Json model = j.at("model"), v = model.at("vocab");
      change(v);
      model.set("vocab", std::move(v));
      j.set("model", std::move(model));
    });
  };
  // Without merges, so that a byte can go.
  std::string no_byte = refused([](Json& j) {
    Json v = Json::object(), model = j.at("model");
    std::int64_t next = 0;
    for (auto [token, id] : j.at("model").at("vocab").members("vocab"))
      if (token != "A" && id.as_int("id") < 259) v.set(std::string(token), next++);
    model.set("vocab", std::move(v));
    model.set("merges", Json::array());
    j.set("model", std::move(model));
  });
  CHECK(has(no_byte, "tokenizer.bytes: t.json: byte 65 "));
  CHECK(has(vocab([](Json& v) { v.set("A", 600); }), "tokenizer.id: t.json: 600 tokens, wanted ids 0 to 599"));  // a hole at its old id
  CHECK(has(vocab([](Json& v) { v.set("A", v.at("B").as_int("B")); }), "tokenizer.id: t.json: 600 tokens"));         // twice
  CHECK(has(vocab([](Json& v) { v.set("A", -1); }), "json.range"));
  CHECK(has(vocab([](Json& v) { v.set("A", "x"); }), "json.type"));
  CHECK(has(vocab([](Json& v) { v.set("<BOS>", 599); }), "tokenizer.id: t.json: '<BOS>' has id 599 in the vocabulary and 1 among"));
  CHECK(has(refused_model("merges", Json::array({Json::array({"A", "nowhere"})})), "tokenizer.merge: t.json: merge 0: 'A' and 'nowhere'"));
  CHECK(has(refused_model("merges", Json::array({Json::array({"A", "\xc4\xa0"})})), "what they make is not in the vocabulary"));
  CHECK(has(refused_model("merges", Json::array({"Ab"})), "tokenizer.merge: t.json: merge 0: wanted two tokens"));
  CHECK(has(refused_model("merges", Json::array({Json::array({"A"})})), "tokenizer.merge: t.json: merge 0: wanted two tokens, got 1"));
  CHECK(has(refused([](Json& j) { j.erase("model"); }), "json.key"));
  CHECK(has(refused([](Json& j) { j.erase("pre_tokenizer"); }), "json.key"));
  CHECK(has(error_of(ErrorKind::input, [] { Tokenizer::load(folder + "nowhere.json"); }), "file.missing"));
}

TEST_CASE("trainer: the reference trainer's vocabulary and merges") {
  BpeTrainer trainer;
  Json lines = read_json("train.json");
  for (const Json& line : lines.items("lines")) trainer.add(line.as_string("line"));
  Json got = trainer.train(600), wanted = small();
  auto got_merges = got.at("model").at("merges").items("merges"), wanted_merges = wanted.at("model").at("merges").items("merges");
  REQUIRE(got_merges.size() == wanted_merges.size());
  for (std::size_t i = 0; i < got_merges.size(); ++i) {
    CAPTURE(i);
    REQUIRE(io::dump(got_merges[i]) == io::dump(wanted_merges[i]));
  }
  std::map<std::string, std::int64_t> a, b;
  for (auto [token, id] : got.at("model").at("vocab").members("vocab")) a[std::string(token)] = id.as_int("id");
  for (auto [token, id] : wanted.at("model").at("vocab").members("vocab")) b[std::string(token)] = id.as_int("id");
  CHECK(a.size() == 600);
  CHECK(a == b);
  CHECK(a.at("<PAD>") == 0);
  CHECK(a.at("<BOS>") == 1);
  CHECK(a.at("<EOS>") == 2);
  for (const char* key : {"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    CAPTURE(key);
    CHECK(io::dump(got.at(key)) == io::dump(wanted.at(key)));
  }
  CHECK(io::dump(trainer.train(600)) == io::dump(got));
  Tokenizer t = Tokenizer::parse(got, "trained");
  CHECK(t.encode("All human beings") == tokenizer("cohere").encode("All human beings"));
}

TEST_CASE("trainer: sizes, ties, order of texts, too little text") {
  auto trained = [](std::initializer_list<const char*> texts, std::int64_t size) {
    BpeTrainer trainer;
    for (const char* text : texts) trainer.add(text);
    return trainer.train(size);
  };
  auto merges = [](const Json& j) { return io::dump(j.at("model").at("merges")); };
  // Bytes alone: every byte once.
  Json bytes = trained({}, 259);
  CHECK(merges(bytes) == "[]");
  CHECK(bytes.at("model").at("vocab").size() == 259);
  std::string all;
  for (int b = 0; b < 256; ++b) all += static_cast<char>(b);
  Tokenizer t = Tokenizer::parse(bytes, "bytes");
  CHECK(t.vocab_size() == 259);
  std::vector<std::int32_t> ids;
  for (std::int32_t id = 3; id < 259; ++id) ids.push_back(id);
  std::string spelled = t.decode(ids);
  CHECK(std::multiset<char>(spelled.begin(), spelled.end()) == std::multiset<char>(all.begin(), all.end()));
  // Of equal counts the pair of lower ids; counts decide before ids; a second text order changes nothing.
  CHECK(merges(trained({"zy", "xw", "ab"}, 262)) == R"([["a", "b"], ["x", "w"], ["z", "y"]])");
  CHECK(merges(trained({"ab", "xw", "zy"}, 262)) == R"([["a", "b"], ["x", "w"], ["z", "y"]])");
  CHECK(merges(trained({"zy", "zy", "xw", "ab"}, 260)) == R"([["z", "y"]])");
  // Overlapping pairs: aaaa has three of (a, a), and two after the merge make one.
  CHECK(merges(trained({"aaaa", "bc", "bc"}, 262)) == R"([["a", "a"], ["b", "c"], ["aa", "aa"]])");
  // Exactly as many tokens as asked for, as long as the text has pairs; then fewer.
  for (std::int64_t n : {259, 260, 261, 262}) CHECK(trained({"abab", "abc"}, n).at("model").at("vocab").size() == static_cast<std::size_t>(n));
  CHECK(trained({"abab", "abc"}, 263).at("model").at("vocab").size() == 262);
  CHECK(has(error_of(ErrorKind::usage, [&] { trained({"abc"}, 258); }), "tokenizer.size: "));
  // Digits stay apart in any script; the two bytes of one may merge.
  CHECK(merges(trained({"1234 1234 \xd9\xa3\xd9\xa3"}, 300)) == R"([["Ù", "£"]])");
}

}  // namespace bam::tokenizer_test
