#!/bin/sh
# The command line's contract on bad input: exit code, first line on stderr, nothing on stdout, nothing written.
# Usage: tests/cli.sh path/to/bam
set -u
bam=$1
case $bam in /*) ;; *) bam=$PWD/$bam ;; esac
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failed=0 done=0

# wrong CODE PATTERN ARGS...: exits with CODE, first stderr line "error[...]: ..." matches PATTERN, stdout is empty.
wrong() {
  code=$1 pattern=$2
  shift 2
  done=$((done + 1))
  timeout 10 "$bam" "$@" >out 2>err </dev/null
  got=$?
  first=$(head -n 1 err)
  if [ $got -ne "$code" ] || [ -s out ] || ! printf '%s\n' "$first" | grep -Eq "^error\[[a-z_.0-9]+\]: .*$pattern"; then
    printf 'FAILED: bam %s\n  wanted exit %s and /%s/, got exit %s: %s\n' "$*" "$code" "$pattern" "$got" "$first"
    failed=$((failed + 1))
  fi
}
# right PATTERN ARGS...: exits 0, stdout matches PATTERN.
right() {
  pattern=$1
  shift
  done=$((done + 1))
  timeout 60 "$bam" "$@" >out 2>err </dev/null
  got=$?
  if [ $got -ne 0 ] || ! grep -Eq "$pattern" out; then
    printf 'FAILED: bam %s\n  wanted exit 0 and /%s/, got exit %s: %s\n' "$*" "$pattern" "$got" "$(head -n 1 out err)"
    failed=$((failed + 1))
  fi
}

# Rows 1 to 11: verbs and flags.
wrong 2 'wanted a command'
wrong 2 "unknown command 'frobnicate'" frobnicate
wrong 2 'did you mean inspect' inspekt x
wrong 2 'did you mean train' tokenizer trian
wrong 2 'unknown flag --micro-batsh; did you mean --micro-batch' estimate --micro-batsh 1
wrong 2 'unknown flag --lerning-rate' estimate --lerning-rate 1
wrong 2 '--threads' doctor --threads
wrong 2 '--threads' doctor --threads 1 --threads 2
wrong 2 '--threads' --threads 1 doctor --threads 2
for text in -5 1e3x 0x10 ' 5' '5 ' 5.0 '' 9223372036854775808 +5; do
  wrong 2 "--context: .*got '$(printf %s "$text" | sed 's/+/[+]/')'" estimate --context "$text"
done
wrong 2 '--context' estimate --context ٣
wrong 2 '18446744073709551616' doctor --seed 18446744073709551616
for text in nan inf -inf 1,5 1e-400 1e400 0x1p3; do wrong 2 "--rate: .*'$text'" estimate --rate "$text"; done
for text in 0 -1 1000000; do wrong 2 '--threads: wanted an integer from 1 to 1024' doctor --threads "$text"; done
wrong 2 '--dtype' doctor --dtype fp16
wrong 2 '--device' doctor --device gpu
[ -e /dev/nvidiactl ] || wrong 4 'wanted an NVIDIA GPU' doctor --device cuda
wrong 2 '--out' doctor --out ''
wrong 2 'a\\x0ab' doctor --out "$(printf 'a\nb')"
wrong 2 'PATH' inspect
wrong 2 'unexpected argument' doctor one

# Rows 40 to 45: configs.
config() {
  printf '{"model_type": "bam", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2%s}\n' "$1"
}
config '' >c.json
wrong 2 'key=value' estimate --config c.json --set novalue
for key in hidden_size num_hidden_layers num_attention_heads num_key_value_heads vocab_size head_dim; do
  for value in 0 -32 9223372036854775807 '"32"' 32.5 true; do wrong 3 "c.json: $key: .*${value#-}" estimate --config c.json --set "$key=$value"; done
done
wrong 3 'num_hidden_layers: .*1000000000' estimate --config c.json --set num_hidden_layers=1000000000
wrong 3 'num_experts_per_tok' estimate --config c.json --set num_experts_per_tok=2
wrong 3 'num_key_value_heads' estimate --config c.json --set num_key_value_heads=3
wrong 3 'hidden_act: .*gelu' estimate --config c.json --set hidden_act=gelu
wrong 3 'rope_scaling' estimate --config c.json --set 'rope_scaling={"type": "linear", "factor": 2}'
wrong 3 'quantization_config' estimate --config c.json --set 'quantization_config={"bits": 4}'
wrong 3 'absent.json' estimate --config absent.json
config ', "hidden_size": 64' >twice.json
wrong 3 'twice.json.*hidden_size' estimate --config twice.json
config ', "x": NaN' >nan.json
wrong 3 'nan.json' estimate --config nan.json
config '} // comment' >comment.json
wrong 3 'comment.json' estimate --config comment.json
: >empty.json
wrong 3 'empty.json' estimate --config empty.json
wrong 2 '--config' estimate

# A model folder whose weights are no such thing.
mkdir model
cp c.json model/config.json
wrong 3 'model' inspect model --json
for bytes in '' 1234567 12345678; do
  printf %s "$bytes" >model/model.safetensors
  wrong 3 'model.safetensors' inspect model --json
done
printf '\377\377\377\377\377\377\377\377{}' >model/model.safetensors
wrong 3 'model.safetensors' inspect model --json
wrong 3 'absent' inspect absent
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n' >model/model.safetensors
wrong 3 'git-lfs' inspect model
rm model/model.safetensors && mkfifo model/model.safetensors
wrong 3 'model.safetensors' inspect model

# What works.
right '^bam [0-9.]+ \(isa' --version
right 'Usage: bam estimate' estimate --help
right '"self_test": "ok"' doctor --json
right 'self-test +ok' doctor
right '^\{"parameters_total": [0-9]+, "parameters_active": [0-9]+, "flops_forward' estimate --config c.json --tokens-per-step 4096 --micro-batch 2 --context 64 --json
right 'peak' estimate --config c.json --set num_experts=4

# Output that cannot be written (rows 21, 22).
done=$((done + 3))
"$bam" estimate --config c.json >/dev/full 2>err; [ $? -eq 5 ] || { echo 'FAILED: stdout full'; failed=$((failed + 1)); }
"$bam" estimate --config c.json >&- 2>err; [ $? -eq 5 ] || { echo 'FAILED: stdout closed'; failed=$((failed + 1)); }
env -i "$bam" estimate --config c.json --json >out 2>err <&-; [ $? -eq 0 ] || { echo 'FAILED: bare environment'; failed=$((failed + 1)); }

# Tokenizer: train, encode, decode.
printf '{"text": "the cat sat on the mat the cat"}\n{"text": "caf\\u00e9 <EOS> 123"}\n' >text.jsonl
right '' tokenizer train --vocab-size 280 --out tok text.jsonl --json
right '^\{"ids": \[\[[0-9, ]+\], \[[0-9, ]+\]\]\}$' tokenizer encode --tokenizer tok text.jsonl --json
right '\[\[1, [0-9, ]+, 2\], \[1, ' tokenizer encode --tokenizer tok text.jsonl --special --json
"$bam" tokenizer encode --tokenizer tok text.jsonl --json >ids.json 2>err
right 'the cat sat on the mat the cat.*<EOS> 123' tokenizer decode --tokenizer tok ids.json --json
wrong 2 '--vocab-size' tokenizer train --vocab-size 0 --out tok2 text.jsonl
wrong 2 '--vocab-size' tokenizer train --out tok2 text.jsonl
wrong 3 'absent' tokenizer train --vocab-size 300 --out tok2 absent.jsonl
wrong 3 'text.jsonl|tokenizer' tokenizer encode --tokenizer model text.jsonl --json
printf '{"ids": [[-1]]}' >bad.json
wrong 3 'bad.json.*-1' tokenizer decode --tokenizer tok bad.json
printf '{"ids": [[1099511627776]]}' >bad.json
wrong 3 'bad.json.*1099511627776' tokenizer decode --tokenizer tok bad.json
[ -e tok2 ] && { echo 'FAILED: tok2 was written'; failed=$((failed + 1)); }

# Evaluation: a model, what stands beside it, answers that compete.
printf '{"model_type": "cohere", "vocab_size": 280, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}' >tiny.json
printf '[model]\nconfig = "tiny.json"\ntokenizer = "tok"\n[[data]]\npath = "text.jsonl"\n[train]\ncontext = 16\nbatch = 2\nsteps = 1\n' >tiny.toml
right '"steps": 1' train tiny.toml --out tiny --json
right '^\{"sets": \{"a": \{"documents": 2, "tokens": [0-9]+, "bytes": 45, "nll": 5' eval --model tiny --data a=text.jsonl --json
right '"ngram": \{"a": \{"documents": 2, .*"bits_per_byte": .*"stderr": .*"order": 3\}\}, "zstd": \{"a": \{"documents": 2, "bytes": 45, "compressed_bytes": [0-9]+, "bits_per_byte": ' eval --model tiny --data a=text.jsonl --ngram 3 --ngram-train text.jsonl --zstd --json
right '^3-gram' eval --model tiny --data a=text.jsonl --ngram 3 --ngram-train text.jsonl
right '^zstd -19' eval --model tiny --data a=text.jsonl --zstd
printf '{"prompt": "the cat", "choices": [" sat", " mat", " on"], "answer_index": 0}\n{"prompt": "a prompt that is too long for it", "choices": ["x", "y"], "answer_index": 1}\n' >items.jsonl
right '"sets": \{\}, "choice": \{"c": \{"n": 2, "cut": 1, "dropped": 0, "chance": 0.41666666666666[0-9]*, "accuracy_sum": .*"accuracy_per_byte": .*"low": .*"high": ' eval --model tiny --choice c=items.jsonl --json
right '"models": \{"m": \{"sets": .*"choice": .*\}, "n": .*"ngram": ' eval --model m=tiny --model n=tiny --data a=text.jsonl --choice c=items.jsonl --ngram 2 --ngram-train text.jsonl --json
right 'c +n +chance +accuracy per byte' eval --model tiny --choice c=items.jsonl
wrong 2 'wanted --model DIR and --data NAME=FILE or --choice' eval --model tiny
wrong 2 '--ngram-train PATH go together' eval --model tiny --data a=text.jsonl --ngram 3
wrong 2 '--ngram-train PATH go together' eval --model tiny --data a=text.jsonl --ngram-train text.jsonl
wrong 2 '--ngram: wanted an integer from 1 to 12' eval --model tiny --data a=text.jsonl --ngram 13 --ngram-train text.jsonl
wrong 2 'want --data' eval --model tiny --choice c=items.jsonl --zstd
wrong 2 'the name c is given twice' eval --model tiny --choice c=items.jsonl --choice c=text.jsonl
wrong 3 'absent.jsonl' eval --model tiny --data a=text.jsonl --ngram 3 --ngram-train absent.jsonl
wrong 3 'text.jsonl:1: wanted the key "prompt"' eval --model tiny --choice c=text.jsonl
printf '{"prompt": "the cat", "choices": [" sat", ""], "answer_index": 0}\n' >items.jsonl
wrong 3 'none of 1 items' eval --model tiny --choice c=items.jsonl

echo "cli: $done checks, $failed failed"
[ "$failed" -eq 0 ]
