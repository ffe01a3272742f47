// Every reader of files, for libFuzzer (scripts/fuzz.sh): whatever the bytes, it returns or throws bam::Error, and what it accepted
// survives being written and read again. BAM_FUZZ_READER names the reader.
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "bam/clt/mixture.hpp"
#include "bam/eval/choice.hpp"
#include "bam/io/json.hpp"
#include "bam/io/model_config.hpp"
#include "bam/io/safetensors.hpp"
#include "bam/nn/estimate.hpp"
#include "bam/study/arms.hpp"
#include "bam/study/transfer_config.hpp"
#include "bam/text/chat_data.hpp"
#include "bam/text/corpus.hpp"
#include "bam/text/tokenizer.hpp"
#include "bam/train/run_config.hpp"

using namespace bam;

namespace {

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

// The bytes as a file, in memory where the system has such a folder.
std::string file_of(const std::string& bytes, const char* suffix) {
  static const std::string path = str(std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp", "/bam-fuzz-", ::getpid());
  const std::string name = path + suffix;
  std::FILE* f = std::fopen(name.c_str(), "wb");
  require(f && std::fwrite(bytes.data(), 1, bytes.size(), f) == bytes.size() && std::fclose(f) == 0, "a temporary file is written");
  return name;
}

void json(const std::string& bytes) {
  const io::Json j = io::parse_json(bytes, "input");
  const std::string text = io::dump(j);
  require(io::dump(io::parse_json(text, "again")) == text, "JSON is read as it was written");
}
void json_lines(const std::string& bytes) { io::parse_json_lines(bytes, "input"); }
void safetensors(const std::string& bytes) {
  const io::WeightSet w = io::load_weights(file_of(bytes, ".safetensors"));
  for (const std::string& name : w.names()) {
    const auto* t = w.find(name);
    require(t->elements() >= 0 && static_cast<std::uint64_t>(t->elements()) <= 8 * bytes.size(), "a tensor has no more elements than its file has bits");
    std::vector<float> values(static_cast<std::size_t>(t->elements()));
    t->to_float(values.data());
  }
}
void config(const std::string& bytes) {
  const io::ConfigFile c = io::parse_model_config(io::parse_json(bytes, "input"), "input");
  const std::string text = io::dump(io::model_config_json(c));
  require(io::dump(io::model_config_json(io::parse_model_config(io::parse_json(text, "again"), "again"))) == text, "a config is read as it was written");
  count_parameters(c.model);
  estimate_memory(c.model, {.micro_batch = 2, .context = 64});
}
void tokenizer(const std::string& bytes) {
  const text::Tokenizer t = text::Tokenizer::parse(io::parse_json(bytes, "input"), "input");
  for (const char* text : {"", " a  b\n\t12 don't", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "<BOS>x"})
    for (std::int32_t id : t.encode(text)) require(id >= 0 && id < t.vocab_size(), "an id is of the vocabulary");
}
// Of a fixed tokenizer; the input is the text.
void encode(const std::string& bytes) {
  static const text::Tokenizer t = text::Tokenizer::load(str(std::getenv("BAM_TEST_DATA"), "/data/tokenizer/gpt2.json"));
  require(t.decode(t.encode(bytes)) == bytes, "text comes back from its tokens");
}
void run(const std::string& bytes) {
  const train::RunConfig c = train::parse_run_config(bytes, "input");
  const std::string text = train::resolved_toml(c);
  require(train::resolved_toml(train::parse_run_config(text, "again")) == text, "a run file is read as it was written");
}
void study_bam(const std::string& bytes) { study::parse_study(bytes, "input"); }
void study_clt(const std::string& bytes) { study::transfer::parse_transfer(bytes, "input"); }
void mixture(const std::string& bytes) { clt::parse_mixture(bytes, "input"); }
void example(const std::string& bytes) { text::detail::parse_example(bytes, "input"); }
void examples(const std::string& bytes) { text::read_examples(file_of(bytes, ".jsonl"), "train"); }
void documents(const std::string& bytes) { text::read_documents(file_of(bytes, ".jsonl"), "train"); }
void choices(const std::string& bytes) { read_choice_items(file_of(bytes, ".jsonl")); }
void zstd(const std::string& bytes) { io::decompress_zstd(bytes, "input", 1 << 20); }

constexpr struct {
  const char* name;
  void (*read)(const std::string&);
} readers[] = {{"json", json}, {"json_lines", json_lines}, {"safetensors", safetensors}, {"config", config}, {"tokenizer", tokenizer}, {"encode", encode}, {"run", run}, {"study_bam", study_bam},
               {"study_clt", study_clt}, {"mixture", mixture}, {"example", example}, {"examples", examples}, {"documents", documents}, {"choices", choices}, {"zstd", zstd}};

void (*chosen())(const std::string&) {
  const char* wanted = std::getenv("BAM_FUZZ_READER");
  for (const auto& r : readers)
    if (wanted && std::strcmp(wanted, r.name) == 0) return r.read;
  std::fprintf(stderr, "BAM_FUZZ_READER is one of:");
  for (const auto& r : readers) std::fprintf(stderr, " %s", r.name);
  std::fprintf(stderr, "\n");
  std::exit(2);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static void (*const read)(const std::string&) = chosen();
  try {
    read(std::string(reinterpret_cast<const char*>(data), size));
  } catch (const Error&) {
  }
  return 0;
}
