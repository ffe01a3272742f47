// Inference of one dense configuration and of the mixtures made from it (4 experts, FFN top-1): prefill, decoding, K/V memory, and how
// much of the memory's read bandwidth decoding reaches. Weights are random: time depends on shapes and on routing, not on what was
// learned. Before an arm is timed, its decoded logits are compared, bit for bit, with one pass over the whole. A request is a prompt
// and some new tokens, as in BAM (arXiv 2408.08274), whose ratios stand beside ours. Arms take turns; figures are medians.
//
//   cmake -S . -B build/bench -DCMAKE_BUILD_TYPE=Release -DBAM_BENCH=ON -DBAM_TESTS=OFF && cmake --build build/bench --target inference_bench
//   build/bench/bench/inference_bench --hidden 512 --ffn 1024 --layers 6 --heads 8 --kv-heads 8 --vocab 8192 --context 2048
#include <chrono>
#include <cstdio>
#include <cstring>

#include "apps/bam/flags.hpp"
#include "bam/eval/generate.hpp"
#include "bam/nn/estimate.hpp"
#include "bam/upcycle/upcycle.hpp"
#include "limits.hpp"

using namespace bam;
using Index = std::int64_t;

namespace {

struct Flags {
  Index hidden = 512, ffn = 1024, layers = 6, heads = 8, kv_heads = 8, vocab = 8192, context = 2048;
  Index prompt = 256, new_tokens = 16, repeats = 10, threads = 0;  // the request of the paper: 256 and 16, ten times
  bool json = false;
};

struct Arm {
  const char* name;
  const char* paper;  // latency of a request, BTX = 1
  Decoder model;
  std::vector<double> prefill, step, step8;  // seconds: of the prompt, of one token, of one token of eight sequences
};

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return (x[(x.size() - 1) / 2] + x[x.size() / 2]) / 2;
}

// Slots of one cache with a prompt each; then all of them, one token at a time.
struct Decoding {
  SequenceCache cache;
  std::vector<std::vector<std::int32_t>> ids;  // per slot; the last one is not fed yet
  Decoding(const Decoder& model, Index slots, const Flags& f) : cache(model, slots, f.prompt + f.new_tokens) {
    for (Index s = 0; s < slots; ++s) {
      Random random(9, static_cast<std::uint32_t>(s));
      ids.emplace_back();
      for (Index i = 0; i < f.prompt; ++i) ids.back().push_back(static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(f.vocab))));
    }
  }
  Tensor feed(std::size_t begin, std::size_t end) {
    std::vector<SequenceCache::Part> parts;
    for (std::size_t s = begin; s < end; ++s) parts.push_back({s, std::span<const std::int32_t>(ids[s]).subspan(static_cast<std::size_t>(cache.length(s)))});
    Tensor logits = cache.feed(parts);
    for (std::size_t s = begin; s < end; ++s)
      ids[s].push_back(sample(logits.values().subspan((s - begin) * static_cast<std::size_t>(logits.columns()), static_cast<std::size_t>(logits.columns())), {}, 0, ids[s].size()));
    return logits;
  }
  void prefill() {
    for (std::size_t s = 0; s < ids.size(); ++s) feed(s, s + 1);
  }
  Tensor decode() { return feed(0, ids.size()); }
};

template <class F>
double seconds(F f) {
  auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void check_bits(const Arm& arm, const Flags& f) {
  Decoding d(arm.model, 1, f);
  d.prefill();
  Tensor last;
  for (Index i = 1; i < f.new_tokens; ++i) last = d.decode();
  std::vector<std::int32_t> ids(d.ids[0].begin(), d.ids[0].end() - 1), positions(ids.size());
  std::iota(positions.begin(), positions.end(), 0);
  auto n = static_cast<Index>(ids.size());
  Hidden hidden = arm.model.hidden({tensor(ids), tensor(positions), segments({n}), {}});
  hidden.states = embedding(hidden.states, tensor(std::vector<std::int32_t>{static_cast<std::int32_t>(n - 1)}));
  Tensor whole = arm.model.logits(hidden);
  if (std::memcmp(whole.raw(), last.raw(), static_cast<std::size_t>(whole.numel()) * 4) != 0)
    fail(ErrorKind::numerics, "bench.bits", arm.name, ": decoded logits differ from those of one pass");
}

void time_once(Arm& arm, const Flags& f) {
  Decoding one(arm.model, 1, f);
  arm.prefill.push_back(seconds([&] { one.prefill(); }));
  auto steps = [&](Decoding& d) {
    return seconds([&] {
             for (Index i = 1; i < f.new_tokens; ++i) d.decode();
           }) / static_cast<double>(f.new_tokens - 1);
  };
  arm.step.push_back(steps(one));
  Decoding eight(arm.model, 8, f);
  eight.prefill();
  arm.step8.push_back(steps(eight));
}

void run(const Flags& f) {
  ModelConfig c;
  c.vocab_size = f.vocab;
  c.hidden_size = f.hidden;
  c.intermediate_size = f.ffn;
  c.num_hidden_layers = f.layers;
  c.num_attention_heads = f.heads;
  c.num_key_value_heads = f.kv_heads;
  c.head_dim = f.hidden / f.heads;
  c.max_position_embeddings = f.context;
  if (f.hidden % f.heads || f.heads % f.kv_heads || c.head_dim % 2) fail(ErrorKind::usage, "bench.heads", "inference_bench: ", f.hidden, " channels in ", f.heads, " heads over ", f.kv_heads);
  if (f.prompt + f.new_tokens > f.context) fail(ErrorKind::usage, "bench.context", "inference_bench: ", f.prompt, " and ", f.new_tokens, " tokens in a context of ", f.context);
  if (f.threads) set_threads(static_cast<int>(f.threads));

  std::vector<Arm> arms;
  arms.push_back({"dense", "", Decoder(c), {}, {}, {}});
  arms[0].model.initialize(1);
  auto mixture = [&](const char* name, const char* paper, UpcycleMethod method) {
    UpcycleOptions o;
    o.method = method;
    const Decoder& seed = arms[0].model;
    arms.push_back({name, paper, upcycle({&seed, &seed, &seed, &seed}, o), {}, {}, {}});
  };
  mixture("btx", "1", UpcycleMethod::btx);
  mixture("bam", "1.28", UpcycleMethod::bam);
  mixture("bam-shared-kv", "1.24", UpcycleMethod::bam_shared_kv);

  const double limit = bench::measure_limits(cpu::isa()).read;
  for (const Arm& arm : arms) check_bits(arm, f);
  for (Index i = 0; i < f.repeats; ++i)
    for (Arm& arm : arms) time_once(arm, f);

  // The first new token comes from the prompt's own pass.
  auto request = [&](const Arm& arm) { return median(arm.prefill) + static_cast<double>(f.new_tokens - 1) * median(arm.step); };
  io::Json config = io::Json::object({{"hidden", f.hidden}, {"ffn", f.ffn}, {"layers", f.layers}, {"heads", f.heads}, {"kv_heads", f.kv_heads}, {"vocab", f.vocab}, {"context", f.context},
                                      {"prompt", f.prompt}, {"new_tokens", f.new_tokens}, {"repeats", f.repeats}, {"experts", 4}, {"isa", cpu::name_of(cpu::isa())},
                                      {"threads", threads()}, {"read_bytes_per_s", limit}});
  io::Json rows = io::Json::array();
  std::string table = str("Prompt ", f.prompt, ", ", f.new_tokens, " new tokens; hidden ", f.hidden, ", FFN ", f.ffn, ", ", f.layers, " layers, ", f.heads, " heads over ", f.kv_heads, ", vocabulary ", f.vocab,
                          "; ", cpu::name_of(cpu::isa()), ", ", threads(), " threads, read limit ", static_cast<double>(static_cast<Index>(limit / 1e8)) / 10, " GB/s; medians of ", f.repeats, ".\n\n");
  table += "| arm | active parameters | prefill ms | to dense | decode tokens/s | batch of 8 | token, to dense | request ms | to dense | to BTX | paper | K/V bytes a token | K/V MiB of " + str(f.context) +
           " | MB read a token | % of read limit |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
  for (const Arm& arm : arms) {
    const ModelConfig& m = arm.model.config();
    const Arm& dense = arms[0];
    double prefill = median(arm.prefill), step = median(arm.step), step8 = median(arm.step8), to_btx = request(arm) / request(arms[1]);
    Index active = count_parameters(m).active, kv_token = 2 * m.num_hidden_layers * m.kv_width() * 4;
    // One token alone reads its weights once, and the keys and values of half the new tokens beside the prompt's.
    double bytes = 4.0 * static_cast<double>(active) + static_cast<double>(kv_token) * (static_cast<double>(f.prompt) + static_cast<double>(f.new_tokens) / 2);
    char line[512];
    std::snprintf(line, sizeof line, "| %s | %lld | %.2f | %.2f | %.1f | %.1f | %.2f | %.2f | %.2f | %.2f | %s | %lld | %.1f | %.1f | %.0f |\n", arm.name, static_cast<long long>(active), prefill * 1e3,
                  prefill / median(dense.prefill), 1 / step, 8 / step8, step / median(dense.step), request(arm) * 1e3, request(arm) / request(dense), to_btx, arm.paper, static_cast<long long>(kv_token),
                  static_cast<double>(kv_token * f.context) / (1 << 20), bytes / 1e6, 100 * bytes / step / limit);
    table += line;
    rows.push_back(io::Json::object({{"arm", arm.name}, {"prefill_ms", prefill * 1e3}, {"decode_tokens_per_s", 1 / step}, {"decode_tokens_per_s_batch8", 8 / step8}, {"kv_bytes_per_token", kv_token},
                                     {"kv_bytes", kv_token * f.context}, {"ratio_to_btx", to_btx}, {"active_bytes_per_token", bytes}, {"share_of_read_limit", bytes / step / limit}}));
  }
  std::string out = f.json ? io::dump(io::Json::object({{"config", std::move(config)}, {"rows", std::move(rows)}})) + "\n" : table;
  std::fputs(out.c_str(), stdout);
}

}  // namespace

int main(int argc, char** argv) try {
  Flags f;
  CLI::App app{"Inference of a dense model and its mixtures", "inference_bench"};
  auto number = [&](const char* flag, Index& value, Index min, Index max, const char* help) { app::integer_flag<Index>(app, flag, value, min, max, str(help, " (default ", value, ")")); };
  number("--hidden", f.hidden, 1, 1 << 20, "Channels");
  number("--ffn", f.ffn, 1, 1 << 20, "Hidden units of the FFN");
  number("--layers", f.layers, 1, 1024, "Layers");
  number("--heads", f.heads, 1, 1024, "Query heads");
  number("--kv-heads", f.kv_heads, 1, 1024, "Key/value heads");
  number("--vocab", f.vocab, 1, 1 << 24, "Vocabulary; embeddings are tied");
  number("--context", f.context, 1, 1 << 24, "Tokens for which K/V memory is given");
  number("--prompt", f.prompt, 1, 1 << 24, "Tokens of the prompt");
  number("--new-tokens", f.new_tokens, 2, 1 << 24, "Tokens of the completion");
  number("--repeats", f.repeats, 1, 1 << 20, "Times each arm is measured");
  app::integer_flag<Index>(app, "--threads", f.threads, 1, 1024, "Threads (default: all processors)");
  app.add_flag("--json", f.json, "One JSON object");
  CLI11_PARSE(app, argc, argv);
  run(f);
} catch (const Error& e) {
  std::fprintf(stderr, "error[%s]: %s\n", e.id().c_str(), e.what());
  return static_cast<int>(e.kind());
}
