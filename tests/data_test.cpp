// Documents from files and folders, packed rows, evaluation windows.
#include <zstd.h>

#include <map>
#include <set>

#include "bam/eval/nll.hpp"
#include "bam/io/file.hpp"
#include "bam/text/corpus.hpp"
#include "bam/text/packing.hpp"
#include "support.hpp"

namespace bam::data_test {

using namespace bam::text;
using test::error_of;
using test::has;
using test::TemporaryFolder;

namespace {

void write(const std::string& file, std::string_view text) {
  std::filesystem::create_directories(std::filesystem::path(file).parent_path());
  io::write_file_atomic(file, text);
}
std::string pack(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}
std::vector<std::string> texts(const std::string& path, const std::string& split) {
  std::vector<std::string> list;
  for (const Document& d : read_documents(path, split)) list.push_back(d.text);
  return list;
}
using List = std::vector<std::string>;
std::string numbered(int from, int to) {
  std::string lines;
  for (int i = from; i < to; ++i) lines += str("{\"text\": \"document ", i, "\"}\n");
  return lines;
}

constexpr std::int32_t bos = 1, eos = 2;

// Documents of the given lengths (text tokens); every text token is used once in all sources, so a token names its place.
TokenSource source(const char* name, double weight, std::int32_t first, const std::vector<int>& lengths) {
  TokenSource s;
  s.name = name;
  s.weight = weight;
  for (int n : lengths) {
    std::vector<std::int32_t> ids{bos};
    for (int i = 0; i < n; ++i) ids.push_back(first++);
    ids.push_back(eos);
    s.add(ids, n);
  }
  return s;
}
const std::vector<int> lengths{5, 0, 1, 17, 3, 40, 2, 2, 9, 1, 23, 6};  // shorter and longer than a row

// What must follow each text token in its document.
std::map<std::int32_t, std::int32_t> followers(const TokenSource& s) {
  std::map<std::int32_t, std::int32_t> next;
  for (std::size_t i = 0; i + 1 < s.ids.size(); ++i)
    if (s.ids[i] > eos) next[s.ids[i]] = s.ids[i + 1];
  return next;
}
bool same(const StepRows& a, const StepRows& b) {
  return a.rows == b.rows && a.context == b.context && a.inputs == b.inputs && a.targets == b.targets && a.positions == b.positions && a.real == b.real;
}
std::int64_t rows_of(const TokenSource& s, std::int64_t context) { return (s.tokens() + context - 1) / context; }

}  // namespace

TEST_CASE("documents: jsonl, txt, zst of both") {
  TemporaryFolder f;
  write(f / "a.jsonl", "{\"text\": \"one\", \"id\": 7}\n\n  \r\n{\"id\": 1, \"text\": \"zwei\\n\\u00e9\"}\r\n{\"text\": \"\"}");
  const List wanted{"one", "zwei\n\xc3\xa9", ""};
  CHECK(texts(f / "a.jsonl", "train") == wanted);
  CHECK(texts(f / "a.jsonl", "validation") == wanted);  // a file is used whole
  write(f / "a.jsonl.zst", pack(io::read_file(f / "a.jsonl")));
  CHECK(texts(f / "a.jsonl.zst", "train") == wanted);
  write(f / "b.txt", "all of\nit\n");
  CHECK(texts(f / "b.txt", "train") == List{"all of\nit\n"});
  write(f / "b.txt.zst", pack("all of\nit\n"));
  CHECK(texts(f / "b.txt.zst", "train") == List{"all of\nit\n"});
}

TEST_CASE("documents: errors name file and line") {
  TemporaryFolder f;
  auto error = [&](const char* name, std::string_view content) {
    write(f / name, content);
    std::string message = error_of(ErrorKind::input, [&] { read_documents(f / name, "train"); });
    CAPTURE(message);
    CHECK(has(message, f / name));
    return message;
  };
  CHECK(has(error("a.jsonl", "{\"text\": \"x\"}\n\n{\"text\": \"y\"\n"), "a.jsonl:3"));
  CHECK(has(error("a.jsonl", "{\"text\": 5}\n"), "a.jsonl:1: text: wanted a string"));
  std::string message = error("a.jsonl", "{\"text\": \"x\"}\n{\"body\": \"y\", \"n\": 1}\n");
  CHECK(message.starts_with("data.text: "));
  CHECK(has(message, "a.jsonl:2: wanted an object with \"text\", got one with body, n"));
  CHECK(has(error("a.jsonl", "[1]\n"), "a.jsonl:1: "));
  CHECK(has(error("a.jsonl", "\n \n"), "data.empty: "));
  CHECK(has(error("a.txt", ""), "data.empty: "));
  CHECK(has(error("a.csv", "text\nx\n"), "data.kind: "));
  CHECK(has(error("a.jsonl.zst", "{\"text\": \"not packed\"}\n"), "file.zstd"));
  CHECK(has(error_of(ErrorKind::input, [&] { read_documents(f / "none.jsonl", "train"); }), "file.missing"));
  std::filesystem::create_directories(f / "empty");
  CHECK(has(error_of(ErrorKind::input, [&] { read_documents(f / "empty", "train"); }), "data.empty"));
}

TEST_CASE("documents: folders") {
  TemporaryFolder f;
  // Splits that are there are used as they are.
  write(f / "law/train/b.jsonl", numbered(100, 200));
  write(f / "law/train/a.jsonl", numbered(0, 100));
  write(f / "law/validation/v.jsonl", numbered(200, 210));
  List train = texts(f / "law", "train");
  REQUIRE(train.size() == 200);
  for (int i = 0; i < 200; ++i) CHECK(train[static_cast<std::size_t>(i)] == str("document ", i));  // files by name, lines as they are
  CHECK(texts(f / "law", "validation").size() == 10);
  CHECK(texts(f / "law/train", "train") == train);
  CHECK(texts(f / "law/train/", "train") == train);
  CHECK(texts(f / "law/validation", "validation").size() == 10);
  CHECK(has(error_of(ErrorKind::input, [&] { read_documents(f / "law", "eval"); }), "data.split: "));
  write(f / "law/eval/e.txt", "last");
  CHECK(texts(f / "law", "eval") == List{"last"});
}

TEST_CASE("documents: a split by hash is disjoint, complete and stays with the text") {
  TemporaryFolder f;
  write(f / "one/train/a.jsonl", numbered(0, 1500));
  write(f / "one/train/b.jsonl.zst", pack(numbered(1500, 2000)));
  write(f / "two/b.jsonl", numbered(0, 1000));
  write(f / "two/a.jsonl", numbered(1000, 2000));
  std::set<std::string> held;
  for (const char* name : {"one", "two"}) {
    List train = texts(f / name, "train"), validation = texts(f / name, "validation");
    CHECK(train.size() + validation.size() == 2000);
    CHECK(validation.size() > 60);  // 6% of 2000 is 120, four deviations are 43
    CHECK(validation.size() < 180);
    std::set<std::string> all(train.begin(), train.end());
    for (const std::string& t : validation) CHECK(all.insert(t).second);
    CHECK(all.size() == 2000);
    std::set<std::string> now(validation.begin(), validation.end());
    if (held.empty()) held = now;
    CHECK(held == now);
  }
}

TEST_CASE("packing: every token once an epoch, targets and positions right") {
  for (std::int64_t context : {1, 2, 7, 16, 64, 300}) {
    CAPTURE(context);
    TokenSource s = source("s", 1, 10, lengths);
    auto next = followers(s);
    DataStream stream({s}, context, 3);
    std::vector<std::vector<std::int32_t>> orders;
    for (int epoch = 0; epoch < 3; ++epoch) {
      std::map<std::int32_t, int> seen;
      std::int64_t real = 0, targets = 0;
      StepRows rows = stream.next(rows_of(s, context));
      REQUIRE(static_cast<std::int64_t>(rows.inputs.size()) == rows.rows * context);
      for (std::int64_t r = 0; r < rows.rows; ++r)
        for (std::int64_t t = 0; t < context; ++t) {
          auto i = static_cast<std::size_t>(r * context + t);
          std::int32_t id = rows.inputs[i], target = rows.targets[i];
          if (!rows.real[i]) {
            CHECK(target == -1);
            CHECK((t + 1 == context || !rows.real[i + 1]));  // pads only at the end of a row
            continue;
          }
          ++real;
          ++seen[id];
          targets += target >= 0;
          if (id == eos) CHECK(target == -1);
          else if (id == bos) CHECK((target == eos || target >= 10));
          else CHECK(target == next.at(id));
          // Inside a row the next token of the document is the target, and its position is one more.
          if (t + 1 < context && rows.real[i + 1]) {
            if (id != eos) CHECK(rows.inputs[i + 1] == target);
            CHECK(rows.positions[i + 1] == (id == eos ? 0 : rows.positions[i] + 1));
          }
          if (t == 0 || id == bos) CHECK(rows.positions[i] == 0);
        }
      CHECK(real == s.tokens());
      CHECK(targets == s.tokens() - s.documents());  // all but EOS
      CHECK(seen[bos] == s.documents());
      CHECK(seen[eos] == s.documents());
      for (auto [id, after] : next) CHECK(seen[id] == 1);
      CHECK(stream.epoch(0) == epoch);
      orders.push_back(rows.inputs);
    }
    // One row of the whole text may come out the same by chance of 1 in 12!.
    CHECK(orders[0] != orders[1]);
    CHECK(orders[1] != orders[2]);
    CHECK(stream.epochs()[0] == doctest::Approx(3));
  }
}

TEST_CASE("packing: each pad of a row is a sequence of its own") {
  TokenSource s = source("s", 1, 10, {5});  // 7 tokens
  StepRows rows = DataStream({s}, 10, 1).next(1);
  CHECK(rows.real == std::vector<std::uint8_t>{1, 1, 1, 1, 1, 1, 1, 0, 0, 0});
  CHECK(rows.positions == std::vector<std::int32_t>{0, 1, 2, 3, 4, 5, 6, 0, 0, 0});
  CHECK(rows.targets == std::vector<std::int32_t>{10, 11, 12, 13, 14, 2, -1, -1, -1, -1});
}

TEST_CASE("packing: without document masks only positions differ") {
  TokenSource s = source("s", 1, 10, lengths);
  StepRows masked = DataStream({s}, 16, 3).next(rows_of(s, 16)), open = DataStream({s}, 16, 3, false).next(rows_of(s, 16));
  CHECK(masked.inputs == open.inputs);
  CHECK(masked.targets == open.targets);
  CHECK(masked.real == open.real);
  CHECK(masked.positions != open.positions);
  for (std::size_t i = 0; i < open.inputs.size(); ++i)
    if (open.real[i]) CHECK(open.positions[i] == static_cast<std::int32_t>(i % 16));
}

TEST_CASE("packing: shares of tokens follow the weights, sources that run out begin again") {
  TokenSource a = source("a", 3, 10, std::vector<int>(40, 50)), b = source("b", 1, 10000, std::vector<int>(3, 9)),
              c = source("c", 0.5, 20000, std::vector<int>(7, 33));
  DataStream stream({a, b, c}, 16, 9);
  std::int64_t served[3] = {0, 0, 0};
  for (int step = 0; step < 300; ++step) {
    StepRows rows = stream.next(5);
    for (std::size_t i = 0; i < rows.inputs.size(); i += 16)
      for (std::size_t k = i; k < i + 16; ++k)
        if (rows.real[k] && rows.inputs[k] > eos) {
          std::size_t which = rows.inputs[k] < 10000 ? 0 : rows.inputs[k] < 20000 ? 1 : 2;
          served[which] += std::count(rows.real.begin() + static_cast<std::ptrdiff_t>(i), rows.real.begin() + static_cast<std::ptrdiff_t>(i) + 16, 1);
          break;
        }
  }
  double total = static_cast<double>(served[0] + served[1] + served[2]);
  CHECK(total > 300 * 5 * 14);
  CHECK(static_cast<double>(served[0]) / total == doctest::Approx(3 / 4.5).epsilon(0.003));
  CHECK(static_cast<double>(served[1]) / total == doctest::Approx(1 / 4.5).epsilon(0.006));
  CHECK(static_cast<double>(served[2]) / total == doctest::Approx(0.5 / 4.5).epsilon(0.01));
  CHECK(stream.epoch(1) > 100);
  std::vector<double> epochs = stream.epochs();
  CHECK(epochs[1] == doctest::Approx(static_cast<double>(stream.epoch(1))).epsilon(0.01));
}

TEST_CASE("packing: the seed decides the rows, and a restored stream goes on with the same") {
  auto make = [](std::uint64_t seed) { return DataStream({source("a", 2, 10, lengths), source("b", 1, 1000, lengths)}, 16, seed); };
  DataStream one = make(5), two = make(5), other = make(6);
  bool differs = false;
  for (int i = 0; i < 12; ++i) {
    StepRows x = one.next(3);
    CHECK(same(x, two.next(3)));
    differs = differs || !same(x, other.next(3));
  }
  CHECK(differs);
  // The cut into calls is no part of it.
  DataStream fine = make(5), coarse = make(5);
  StepRows whole = coarse.next(12);
  std::vector<std::int32_t> inputs;
  for (int i = 0; i < 12; ++i) {
    StepRows row = fine.next(1);
    inputs.insert(inputs.end(), row.inputs.begin(), row.inputs.end());
  }
  CHECK(inputs == whole.inputs);
  // At any step, epoch ends included.
  for (int steps : {0, 1, 4, 5, 6, 11, 30}) {
    CAPTURE(steps);
    DataStream first = make(5), second = make(5);
    for (int i = 0; i < steps; ++i) first.next(3);
    second.restore(io::parse_json(io::dump(first.state()), "state"));
    for (int i = 0; i < 15; ++i) CHECK(same(first.next(3), second.next(3)));
    CHECK(io::dump(first.state()) == io::dump(second.state()));
  }
  DataStream stream = make(5);
  CHECK(has(error_of(ErrorKind::input, [&] { stream.restore(io::parse_json("[]", "s")); }), "data.state: "));
  CHECK(has(error_of(ErrorKind::input, [&] { stream.restore(io::parse_json(R"([{"epoch":0,"row":99,"served":0},{"epoch":0,"row":0,"served":0}])", "s")); }),
            "json.range"));
}

TEST_CASE("packing: sources are refused that have no tokens or no weight; the manifest tells them apart") {
  CHECK(has(error_of(ErrorKind::input, [] { DataStream({source("empty", 1, 10, {})}, 8, 1); }), "data.empty: empty"));
  CHECK(has(error_of(ErrorKind::usage, [] { DataStream({source("x", 0, 10, {3})}, 8, 1); }), "data.weight: x"));
  CHECK(has(error_of(ErrorKind::usage, [] { DataStream({}, 8, 1); }), "data.sources"));
  CHECK(has(error_of(ErrorKind::usage, [] { DataStream({source("x", 1, 10, {3})}, 0, 1); }), "data.sources"));
  auto hash = [](const TokenSource& s) { return std::string(DataStream({s}, 8, 1).manifest().at(0).at("hash").as_string("hash")); };
  TokenSource a = source("a", 1, 10, {3, 4}), b = a;
  CHECK(hash(a) == hash(b));
  b.ids[1] = 99;
  CHECK(hash(a) != hash(b));
}

TEST_CASE("evaluation windows: every target is scored once, with at least half a window before it") {
  std::vector<DocumentTokens> documents;
  for (std::size_t n : std::initializer_list<std::size_t>{2, 3, 4, 5, 8, 9, 10, 16, 17, 18, 31, 33, 64, 100})
    documents.push_back({std::vector<std::int32_t>(n, 5), 1});
  for (std::int64_t context : {1, 2, 3, 8, 16, 1000}) {
    CAPTURE(context);
    std::vector<std::vector<int>> scored;
    for (auto& d : documents) scored.emplace_back(d.ids.size(), 0);
    std::vector<std::int64_t> windows(documents.size(), 0);
    for (const EvalWindow& w : eval_windows(documents, context)) {
      auto length = static_cast<std::int64_t>(documents[w.document].ids.size());
      CHECK(w.inputs >= 1);
      CHECK(w.inputs <= context);
      CHECK(w.begin == windows[w.document] * std::max<std::int64_t>(1, context / 2));
      CHECK(w.begin + w.inputs < length);  // the last token is no input
      CHECK(w.first_scored < w.inputs);
      CHECK((windows[w.document] == 0) == (w.first_scored == 0 && w.begin == 0));
      if (w.begin > 0) CHECK(w.first_scored >= context - std::max<std::int64_t>(1, context / 2));
      for (std::int64_t i = w.first_scored; i < w.inputs; ++i) ++scored[w.document][static_cast<std::size_t>(w.begin + i + 1)];
      ++windows[w.document];
    }
    for (auto& d : scored) {
      CHECK(d[0] == 0);
      for (std::size_t i = 1; i < d.size(); ++i) CHECK(d[i] == 1);
    }
  }
}

TEST_CASE("evaluation: the sum over windows is that of each window alone, whatever the micro-batch") {
  ModelConfig c;
  c.vocab_size = 50;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_hidden_layers = 1;
  c.num_attention_heads = c.num_key_value_heads = 2;
  c.head_dim = 8;
  Decoder model(c);
  model.initialize(4, 0.3);
  std::vector<DocumentTokens> documents;
  Random random(2);
  for (std::size_t n : std::initializer_list<std::size_t>{2, 7, 9, 20, 33}) {
    DocumentTokens d;
    for (std::size_t i = 0; i < n; ++i) d.ids.push_back(static_cast<std::int32_t>(random.below(50)));
    d.bytes = static_cast<std::int64_t>(3 * n);
    documents.push_back(d);
  }
  NllResult r = evaluate_nll(model, documents, 8, 3);
  CHECK(r.tokens == 1 + 6 + 8 + 19 + 32);
  CHECK(r.bytes == 3 * (2 + 7 + 9 + 20 + 33));
  // By hand: one window at a time, log-probabilities from the logits.
  double total = 0;
  for (const EvalWindow& w : eval_windows(documents, 8)) {
    std::vector<std::int32_t> ids(documents[w.document].ids.begin() + w.begin, documents[w.document].ids.begin() + w.begin + w.inputs), positions;
    for (std::int32_t i = 0; i < w.inputs; ++i) positions.push_back(i);
    Tensor logits = model.logits(model.hidden(TokenBatch{tensor(ids), tensor(positions), segments({w.inputs}), {}}));
    for (std::int64_t i = w.first_scored; i < w.inputs; ++i) {
      const float* row = logits.data() + i * 50;
      double sum = 0;
      for (int v = 0; v < 50; ++v) sum += std::exp(static_cast<double>(row[v]));
      total += std::log(sum) - static_cast<double>(row[documents[w.document].ids[static_cast<std::size_t>(w.begin + i + 1)]]);
    }
  }
  CHECK(r.nll == doctest::Approx(total / 66).epsilon(1e-6));
  CHECK(r.ppl == doctest::Approx(std::exp(r.nll)));
  CHECK(r.bits_per_byte == doctest::Approx(total / (213 * std::log(2))).epsilon(1e-6));
  double spread = 0;
  for (std::size_t d = 0; d < documents.size(); ++d) {
    double e = r.document_nll[d] - r.nll * static_cast<double>(documents[d].ids.size() - 1);
    spread += e * e;
  }
  CHECK(r.stderr_nll == doctest::Approx(std::sqrt(spread * 5 / 4) / 66));
  for (std::int64_t micro : {1, 2, 100}) CHECK(evaluate_nll(model, documents, 8, micro).document_nll == r.document_nll);
  CHECK(has(error_of(ErrorKind::usage, [&] { evaluate_nll(model, {{{1}, 0}}, 8); }), "eval.document"));
}

}  // namespace bam::data_test
