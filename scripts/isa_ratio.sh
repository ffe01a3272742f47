#!/usr/bin/env bash
# Training steps of one small dense model on each instruction set, one thread: tokens per second, and how many times slower than
# the fastest. The hashes must be equal.
#   scripts/isa_ratio.sh BAM_BINARY
set -euo pipefail
bam=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$bam" data generate --out corpus --documents 200 --quiet
"$bam" tokenizer train --vocab-size 512 --out tok corpus/general --quiet > /dev/null
cat > config.json <<'JSON'
{"model_type": "cohere", "architectures": ["CohereForCausalLM"], "vocab_size": 512, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4,
 "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256, "logit_scale": 1.0, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
JSON
printf '[model]\nconfig = "config.json"\ntokenizer = "tok"\n[[data]]\npath = "corpus/general"\n[train]\ncontext = 256\nbatch = 8\nsteps = 6\nlr = 1e-3\n' > run.toml
rates=() hashes=()
for isa in avx512 avx2 base; do
  if ! BAM_ISA=$isa "$bam" train run.toml --out $isa --threads 1 --quiet --json > $isa.json 2> $isa.log; then echo "$isa: $(head -n 1 $isa.log)"; continue; fi
  rate=$(sed -n 's/.*"tokens_per_s": *\([0-9.e+]*\).*/\1/p' $isa/metrics.jsonl | sort -g | tail -n 1)
  hash=$(sed -n 's/.*"hash": *"\([0-9a-f]*\)".*/\1/p' $isa.json)
  rates+=("$rate") hashes+=("$hash")
  awk -v isa=$isa -v rate="$rate" -v best="${rates[0]}" -v hash="$hash" 'BEGIN { printf "%-7s %8.0f tokens/s  %5.1f times slower  hash %s\n", isa, rate, best / rate, hash }'
done
[ "$(printf '%s\n' "${hashes[@]}" | sort -u | wc -l)" -eq 1 ] || { echo "the hashes differ"; exit 1; }
