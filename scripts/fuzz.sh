#!/usr/bin/env bash
# Fuzzes every reader of files under ASan and UBSan with libFuzzer (clang, its runtime libclang-rt-dev).
#   scripts/fuzz.sh [RUNS [READER...]]   RUNS inputs to each reader (default 200000); what was found stays in build/fuzz/corpus and is gone on from
#   scripts/fuzz.sh --coverage           lines of the readers' headers that the corpus reaches
# A finding ends it with its exit code; the input is left in build/fuzz/findings. Exit code 77 where there is no clang++ with libFuzzer.
set -euo pipefail
cd "$(dirname "$0")/.."
all="json json_lines safetensors config tokenizer encode run study_bam study_clt mixture example examples documents choices zstd"
out=build/fuzz
mkdir -p $out/corpus $out/findings
export BAM_TEST_DATA=$PWD/tests
echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' > $out/probe.cpp
clang++ -fsanitize=fuzzer -o $out/probe $out/probe.cpp > /dev/null 2>&1 || { echo "skipped: there is no clang++ with libFuzzer"; exit 77; }

# compile FLAGS OUT
compile() {
  clang++ -std=c++20 -I. $1 tests/fuzz/readers.cpp -o "$2" $(pkg-config --cflags --libs libpcre2-8 libzstd libxxhash libutf8proc) -pthread
}
seeds() {
  local c=$out/corpus r
  for r in $all; do mkdir -p $c/$r; done
  cp tests/golden/dense/model.safetensors $c/safetensors/golden
  # One tensor of two values: small enough to be changed everywhere.
  { printf '\x40\0\0\0\0\0\0\0'; printf '%-64s' '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'; printf '\0\0\x80\x3f\0\0\0\x40'; } > $c/safetensors/small
  for r in tests/golden/*/config.json bench/configs/*.json; do cp "$r" "$c/config/$(echo "$r" | tr / -)"; done
  cp $c/config/* $c/json
  cp tests/data/tokenizer/gpt2.json $c/tokenizer
  printf '{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":[["a","b"]]},"added_tokens":[{"id":3,"content":"<s>","special":true}],"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false},"decoder":{"type":"ByteLevel"}}' > $c/tokenizer/small
  printf 'It'\''s 12 \xc3\xa9t\xc3\xa9s,\n\n  \xe2\x82\xac!\t\xf0\x9f\x98\x80' > $c/encode/small
  printf '[model]\nconfig = "c.json"\ntokenizer = "t"\n[[data]]\npath = "d"\nweight = 0.5\n[[eval]]\nname = "v"\npath = "e"\n[train]\ncontext = 8\nbatch = 2\nsteps = 3\nschedule = "wsd"\n' > $c/run/small
  cp bench/studies/generated.toml bench/studies/real-text.toml $c/study_bam
  cp bench/studies/transfer.toml $c/study_clt
  printf 'sources = ["a"]\nheld_out = []\n[[part]]\ntask = "math"\nlanguage = "en"\nn = 3\n[additive]\nlanguages = ["es"]\nk = 2\n' > $c/mixture/small
  printf '{"messages":[{"role":"system","content":"s"},{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"lang":"en","task":"t","id":"1"}' > $c/example/turns
  printf '{"prompt":"p","completion":"c","lang":"en","task":"t"}' > $c/example/pair
  for r in example/turns example/pair; do { cat $c/$r; echo; cat $c/$r; } > $c/examples/${r#*/}; done
  printf '{"text":"one"}\n{"text":"two \\u00e9","id":3}\n' | tee $c/documents/small > $c/json_lines/small
  printf '{"prompt":"p","choices":["a","b"],"answer_index":1}\n' > $c/choices/small
  printf '\x28\xb5\x2f\xfd\x20\x04\x21\0\0text' > $c/zstd/small  # a frame of one raw block
}

seeds
if [ "${1:-}" = --coverage ]; then
  compile "-O1 -g -fsanitize=fuzzer -fprofile-instr-generate -fcoverage-mapping" $out/readers_coverage
  rm -f $out/*.profraw
  for r in $all; do LLVM_PROFILE_FILE=$out/$r.profraw BAM_FUZZ_READER=$r $out/readers_coverage -runs=0 $out/corpus/$r > $out/coverage.log 2>&1; done
  llvm=$(clang++ -print-prog-name=llvm-profdata)
  $llvm merge -o $out/readers.profdata $out/*.profraw
  ${llvm%profdata}cov report $out/readers_coverage -instr-profile=$out/readers.profdata bam/io/json.hpp bam/io/safetensors.hpp bam/io/model_config.hpp bam/io/toml.hpp bam/text/tokenizer.hpp bam/text/chat_data.hpp bam/text/corpus.hpp \
    bam/train/run_config.hpp bam/study/arms.hpp bam/study/transfer_config.hpp bam/clt/mixture.hpp bam/eval/choice.hpp -show-region-summary=false -show-branch-summary=false
  exit 0
fi
runs=${1:-200000}
[ $# -gt 0 ] && shift
compile "-O1 -g1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all" $out/readers
for r in ${*:-$all}; do
  # Memory is held to what a hostile file may cost: one allocation of 64 MiB is a finding, as are five seconds on one input.
  BAM_FUZZ_READER=$r $out/readers -runs="$runs" -max_len=4096 -len_control=20 -malloc_limit_mb=64 -rss_limit_mb=2048 -timeout=5 -use_value_profile=1 -print_final_stats=1 \
    -artifact_prefix=$out/findings/$r- $out/corpus/$r > $out/$r.log 2>&1 || { tail -n 40 $out/$r.log; echo "$r: a finding, its input is in $out/findings; $out/$r.log has all of it"; exit 1; }
  printf '%-12s %s inputs, %s a second, corpus %s\n' "$r" "$(sed -n 's/stat::number_of_executed_units: *//p' $out/$r.log)" "$(sed -n 's/stat::average_exec_per_sec: *//p' $out/$r.log)" "$(find $out/corpus/$r -type f | wc -l)"
done
