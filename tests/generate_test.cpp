// Generation: a prompt's ids and logits are, bit for bit, those of one forward pass over the whole, whatever runs beside it, on every
// kind of model; sampling draws from the distribution it names.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <numeric>
#include <set>

#include "bam/eval/generate.hpp"
#include "bam/io/model_folder.hpp"
#include "bam/text/unicode.hpp"
#include "reference.hpp"
#include "support.hpp"

namespace bam::generate_test {

using reference::below;
using reference::everywhere;
using reference::Floats;
using reference::same_bits;
using test::error_of;
using test::has;

namespace {

using Ids = std::vector<std::int32_t>;

io::ModelFolder golden(const std::string& name) { return io::load_model(std::string(BAM_TEST_DATA) + "/golden/" + name); }

std::vector<Ids> prompts_of(std::int64_t vocabulary, const std::vector<std::int64_t>& lengths) {
  Random random(5);
  std::vector<Ids> prompts;
  for (std::int64_t n : lengths) prompts.push_back(below(n, vocabulary, random));
  return prompts;
}

struct Outcome {
  std::vector<Completion> completions;
  std::vector<Floats> logits;  // per prompt, one row of V per new token
};
bool same(const Outcome& a, const Outcome& b) {
  for (std::size_t i = 0; i < a.completions.size(); ++i)
    if (a.completions[i].ids != b.completions[i].ids || a.completions[i].stopped_by != b.completions[i].stopped_by) return false;
  return a.completions.size() == b.completions.size() && std::equal(a.logits.begin(), a.logits.end(), b.logits.begin(), b.logits.end(), same_bits);
}
Outcome run(const Decoder& model, const std::vector<Ids>& prompts, const GenerateOptions& o) {
  Outcome r;
  r.logits.resize(prompts.size());
  r.completions = generate(model, prompts, o, [&](const GeneratedToken& t) { r.logits[t.prompt].insert(r.logits[t.prompt].end(), t.logits.begin(), t.logits.end()); });
  return r;
}

// Logits at every place of ids, in one pass without a cache.
Floats whole_pass(const Decoder& model, const Ids& ids) {
  Ids positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  TokenBatch batch{tensor(ids), tensor(positions), segments({static_cast<std::int64_t>(ids.size())}), {}};
  return reference::floats(model.logits(model.hidden(batch)));
}

}  // namespace

TEST_CASE("generation: batches of 1, 3 and 8, decoding and one pass give the same bits on every golden model") {
  int folders = 0;
  for (auto& entry : std::filesystem::directory_iterator(std::string(BAM_TEST_DATA) + "/golden")) {
    if (!entry.is_directory()) continue;
    ++folders;
    const std::string folder = entry.path().filename().string();
    CAPTURE(folder);
    io::ModelFolder model = golden(folder);
    const auto v = static_cast<std::size_t>(model.config.model.vocab_size);
    // together more than one step feeds; across key tiles of 64; a first token alone
    auto prompts = prompts_of(model.config.model.vocab_size, {63, 1, 130, 64, 5, 128, 17, 99, 2, 65, 30});
    GenerateOptions greedy;
    greedy.max_new_tokens = 9;
    greedy.context = 137;  // cuts the third prompt's completion
    greedy.batch = 1;
    GenerateOptions drawn = greedy;
    drawn.temperature = 0.9;
    drawn.seed = 7;
    drawn.stop = {3, 8, 11, 20, 31, 40, 47};
    Outcome first = run(*model.decoder, prompts, greedy), first_drawn = run(*model.decoder, prompts, drawn);
    CHECK(first.completions[2].ids.size() == 7);
    CHECK(std::any_of(first_drawn.completions.begin(), first_drawn.completions.end(), [](auto& c) { return c.stopped_by == StoppedBy::eos; }));
    for (std::size_t i = 0; i < prompts.size(); ++i) {
      Ids all = prompts[i];
      for (std::int32_t id : first.completions[i].ids) {
        const Floats& decoded = first.logits[i];
        auto row = decoded.begin() + static_cast<std::ptrdiff_t>((all.size() - prompts[i].size()) * v);
        CHECK(id == std::max_element(row, row + static_cast<std::ptrdiff_t>(v)) - row);
        all.push_back(id);
      }
      Floats whole = whole_pass(*model.decoder, all);
      CHECK(same_bits(first.logits[i], Floats(whole.begin() + static_cast<std::ptrdiff_t>((prompts[i].size() - 1) * v), whole.end() - static_cast<std::ptrdiff_t>(v))));
    }
    // A prompt alone, with its stream, is the prompt among others.
    GenerateOptions one = drawn;
    one.stream = 4;
    CHECK(run(*model.decoder, {prompts[4]}, one).completions[0].ids == first_drawn.completions[4].ids);
    for (std::int64_t batch : {3, 8}) {
      greedy.batch = drawn.batch = batch;
      CHECK(same(run(*model.decoder, prompts, greedy), first));
      CHECK(same(run(*model.decoder, prompts, drawn), first_drawn));
    }
    if (folder == "llama" || folder == "bam-top2" || folder == "bam-attention-top2") everywhere([&] { CHECK(same(run(*model.decoder, prompts, drawn), first_drawn)); });
  }
  CHECK(folders == 17);
}

TEST_CASE("generation: a kept cache gives the next turn the bits of a fresh one, also after another branch") {
  io::ModelFolder model = golden("bam-top2");
  auto parts = prompts_of(model.config.model.vocab_size, {40, 7, 12});
  GenerateOptions o;
  o.max_new_tokens = 6;
  o.context = 100;
  SequenceCache cache(*model.decoder, 1, 100);
  auto turn = [&](const Ids& ids) {
    Floats logits;
    Completion c = generate(cache, {ids}, o, [&](const GeneratedToken& t) { logits.insert(logits.end(), t.logits.begin(), t.logits.end()); })[0];
    Outcome fresh = run(*model.decoder, {ids}, o);
    CHECK(c.ids == fresh.completions[0].ids);
    CHECK(same_bits(logits, fresh.logits[0]));
    return c.ids;
  };
  Ids dialogue = parts[0];
  for (std::int32_t id : turn(dialogue)) dialogue.push_back(id);
  CHECK(cache.length(0) == 45);  // the last new token is not fed
  dialogue.insert(dialogue.end(), parts[1].begin(), parts[1].end());
  cache.rewind(0, dialogue);
  CHECK(cache.length(0) == 45);  // and all of it is of use again
  turn(dialogue);
  Ids other(parts[0].begin(), parts[0].begin() + 20);
  other.insert(other.end(), parts[2].begin(), parts[2].end());
  turn(other);
  turn(other);
  turn({other[0]});
}

TEST_CASE("generation: stop ids, lengths and what is refused") {
  io::ModelFolder model = golden("dense");
  auto prompts = prompts_of(model.config.model.vocab_size, {5, 20});
  GenerateOptions o;
  o.max_new_tokens = 10;
  auto free = generate(*model.decoder, prompts, o);
  REQUIRE(free[0].ids.size() == 10);
  CHECK(std::string(name_of(free[0].stopped_by)) == "length");
  o.stop = {60, free[0].ids[4]};
  auto at = std::find(free[0].ids.begin(), free[0].ids.end(), o.stop[1]);
  auto stopped = generate(*model.decoder, prompts, o);
  CHECK(stopped[0].ids == Ids(free[0].ids.begin(), at));
  CHECK(std::string(name_of(stopped[0].stopped_by)) == "eos");
  o.stop.clear();
  o.context = 20;  // the second prompt fills it
  auto full = generate(*model.decoder, prompts, o);
  CHECK(full[0].ids == free[0].ids);
  CHECK(full[1].ids.empty());
  o.context = 0;
  o.max_new_tokens = 0;
  CHECK(generate(*model.decoder, prompts, o)[0].ids.empty());
  CHECK(generate(*model.decoder, {}, o).empty());

  o.max_new_tokens = 3;
  auto refused = [&](ErrorKind kind, const std::vector<Ids>& p) { return error_of(kind, [&] { generate(*model.decoder, p, o); }); };
  CHECK(has(refused(ErrorKind::input, {prompts[0], {}}), "generate.prompt: generate: prompt 1 has 0 tokens"));
  o.context = 19;
  CHECK(has(refused(ErrorKind::input, prompts), "prompt 1 has 20 tokens, wanted 1 to 19"));
  o.context = 0;
  CHECK(has(refused(ErrorKind::usage, {{61}}), "generate.ids: generate: id 61"));
  CHECK(has(refused(ErrorKind::usage, {{-1}}), "generate.ids: generate: id -1"));
  for (auto [temperature, top_k, top_p] : std::vector<std::tuple<double, std::int64_t, double>>{{-1, 0, 1}, {std::nan(""), 0, 1}, {1, -1, 1}, {1, 0, 0}, {1, 0, 1.5}, {1, 0, std::nan("")}}) {
    GenerateOptions bad = o;
    bad.temperature = temperature;
    bad.top_k = top_k;
    bad.top_p = top_p;
    CHECK(has(error_of(ErrorKind::usage, [&] { generate(*model.decoder, prompts, bad); }), "generate.options"));
  }
  SequenceCache small(*model.decoder, 1, 6);
  CHECK(has(error_of(ErrorKind::usage, [&] { generate(small, {prompts[0]}, o); }), "generate.cache"));
  o.max_new_tokens = 2;
  CHECK(generate(small, {prompts[0]}, o)[0].ids == Ids(free[0].ids.begin(), free[0].ids.begin() + 2));
  model.decoder->parameters()[1].write(std::vector<float>(24, INFINITY).data());
  CHECK(has(refused(ErrorKind::numerics, prompts), "generate.non_finite"));
}

TEST_CASE("sampling: ties go to the lower id, and draws have the probabilities of the cut distribution") {
  const std::vector<float> logits{0.5f, 2.0f, -1.0f, 2.0f, 1.0f, -30.0f, 0.5f, 1.5f};
  GenerateOptions o;
  CHECK(sample(logits, o, 0, 0) == 1);
  o.temperature = 0.7;
  o.top_k = 1;
  for (std::uint64_t i = 0; i < 50; ++i) CHECK(sample(logits, o, 0, i) == 1);
  o.temperature = 1e-300;  // the two largest share all of it
  o.top_k = 0;
  std::set<std::int32_t> seen;
  for (std::uint64_t i = 0; i < 50; ++i) seen.insert(sample(logits, o, 0, i));
  CHECK(seen == std::set<std::int32_t>{1, 3});

  struct Row {
    std::int64_t top_k;
    double top_p;
    std::set<std::int32_t> kept;
  };
  // Probabilities at temperature 0.8 fall as 1 = 3 > 7 > 4 > 0 = 6 > 2 > 5; 1, 3 and 7 have 0.804 of it.
  for (const Row& r : std::vector<Row>{{0, 1, {0, 1, 2, 3, 4, 5, 6, 7}}, {5, 1, {0, 1, 3, 4, 7}}, {0, 0.80, {1, 3, 7}}, {0, 0.81, {1, 3, 4, 7}}, {0, 1e-9, {1}}, {3, 0.5, {1, 3}}}) {
    CAPTURE(r.top_k);
    CAPTURE(r.top_p);
    o = {};
    o.temperature = 0.8;
    o.top_k = r.top_k;
    o.top_p = r.top_p;
    o.seed = 3;
    std::map<std::int32_t, double> count, wanted;
    double total = 0;
    for (std::int32_t id : r.kept) total += wanted[id] = std::exp(static_cast<double>(logits[static_cast<std::size_t>(id)]) / 0.8);
    const int n = 20000;
    for (int i = 0; i < n; ++i) count[sample(logits, o, static_cast<std::uint32_t>(i % 5), static_cast<std::uint64_t>(i / 5))] += 1;
    for (auto& [id, times] : count) CHECK(r.kept.count(id) == 1);
    for (auto& [id, weight] : wanted) {
      double p = weight / total;
      CHECK(std::abs(count[id] - n * p) <= 4.5 * std::sqrt(n * p * (1 - p)) + 1e-9);
    }
  }
  o = {};
  o.temperature = 1;
  std::vector<std::int32_t> a, b, c;
  for (std::uint64_t i = 0; i < 40; ++i) {
    a.push_back(sample(logits, o, 0, i));
    b.push_back(sample(logits, o, 1, i));
    o.seed = 1;
    c.push_back(sample(logits, o, 0, i));
    o.seed = 0;
  }
  CHECK(a != b);
  CHECK(a != c);
}

TEST_CASE("streamed text: characters are shown when they are whole, and together as if decoded at once") {
  using text::replace_invalid_utf8, text::whole_characters;
  const std::string all = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82z\xff\xe2\x82\x41\x80\x80\x80\x80\xf0\x9f\xed\xa0\x80\xc3";
  for (std::size_t step = 1; step <= all.size(); ++step) {
    std::string held, shown;
    for (std::size_t at = 0; at < all.size(); at += step) {
      held += all.substr(at, step);
      std::size_t n = whole_characters(held);
      CHECK(held.size() - n <= 3);
      shown += replace_invalid_utf8(held.substr(0, n));
      held.erase(0, n);
    }
    CHECK(shown + replace_invalid_utf8(held) == replace_invalid_utf8(all));
  }
  CHECK(whole_characters("a\xc3\xa9") == 3);
  CHECK(whole_characters("a\xc3") == 1);
  CHECK(whole_characters("\xf0\x9f\x99") == 0);
}

}  // namespace bam::generate_test
