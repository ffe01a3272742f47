#!/usr/bin/env bash
# The hash of a 50-step run of a BAM model (balance and z losses, dropout, accumulation, packing) is one value over threads,
# instruction sets, cuts into micro-batches, and stops and resumes.
#   scripts/hash_check.sh BAM_BINARY
set -euo pipefail
bam=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$bam" data generate --out corpus --documents 60 --quiet
"$bam" tokenizer train --vocab-size 300 --out tok corpus/general corpus/code --quiet > /dev/null
cat > config.json <<'JSON'
{"model_type": "bam", "architectures": ["BamForCausalLM"], "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
 "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
 "num_experts": 4, "num_experts_per_tok": 2, "num_attention_experts": 3, "share_kv": false}
JSON
printf '[model]\nconfig = "config.json"\ntokenizer = "tok"\n[[data]]\npath = "corpus/general"\nweight = 0.5\n[[data]]\npath = "corpus/code"\nweight = 0.5\n[train]\ncontext = 48\nbatch = 12\nmicro_batch = 4\ngradient_leaves = 2\nsteps = 50\nlr = 3e-3\nwarmup = 5\ndropout = 0.1\n' > run.toml
"$bam" estimate --config config.json --quiet --json | sed -n 's/.*"parameters_total": *\([0-9]*\).*/parameters: \1/p'
hashes=()
# one NAME COMMAND...: the hash that the command prints
one() {
  local name=$1 hash
  shift
  hash=$("$@" | sed -n 's/.*"hash": *"\([0-9a-f]*\)".*/\1/p')
  printf '%-34s %s\n' "$name" "$hash"
  hashes+=("$hash")
}
train() { "$bam" train run.toml --quiet --json "$@"; }
for threads in 1 2 3; do one "$threads threads" train --out t$threads --threads $threads; done
for isa in $("$bam" doctor | sed -n 's/^isa.*supported: *\([a-z0-9, ]*\).*/\1/p' | tr -d ,); do BAM_ISA=$isa one "$isa" train --out $isa; done
for rows in 1 2 3 6 12; do one "micro_batch $rows" train --out m$rows --set train.micro_batch=$rows; done
one "recompute" train --out recompute --set train.recompute=true
for stop in 1 17 26 49; do
  train --out s$stop --stop-at $stop > stopped.json
  one "stopped at $stop, resumed" train --out s$stop --resume --threads 3
done
train --out all --stop-at 1 > stopped.json
for stop in $(seq 2 49); do train --out all --resume --stop-at "$stop" > stopped.json; done
one "stopped at each of the 50 steps" train --out all --resume
[ "$(printf '%s\n' "${hashes[@]}" | sort -u | wc -l)" -eq 1 ] || { echo "the hashes differ"; exit 1; }
echo "one hash in ${#hashes[@]} runs"
