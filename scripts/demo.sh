#!/usr/bin/env bash
# The whole BAM path at small scale on generated text: tokenizer, dense seed, three specialists, then BAM, BAM-shared-kv and
# BTX mixtures, and the table of perplexities. Fixed by tokens. Started again on the same folder it continues.
#   scripts/demo.sh BAM_BINARY OUT
set -euo pipefail
bam=$1 out=$2
mkdir -p "$out"
say() { printf '\n== %s\n' "$*"; }

say "text: four domains, generated from a seed"
[ -d "$out/corpus/math" ] || "$bam" data generate --out "$out/corpus" --documents 1200 --seed 1
say "tokenizer: byte-level BPE"
[ -f "$out/tokenizer/tokenizer.json" ] || "$bam" tokenizer train --vocab-size 512 --out "$out/tokenizer" "$out"/corpus/*/train/*.jsonl

cat > "$out/config.json" <<JSON
{"model_type": "cohere", "architectures": ["CohereForCausalLM"], "vocab_size": 512, "hidden_size": 96, "intermediate_size": 192,
 "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 128,
 "logit_scale": 1.0, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
JSON

# run NAME STEPS LR MODEL-LINE DOMAIN=WEIGHT...
run() {
  local name=$1 steps=$2 lr=$3 model=$4
  shift 4
  { echo "[model]"; echo "$model"; echo "tokenizer = \"$out/tokenizer/tokenizer.json\""
    for source in "$@"; do
      echo "[[data]]"; echo "path = \"$out/corpus/${source%=*}/train\""; echo "weight = ${source#*=}"
    done
    echo "[train]"; echo "context = 128"; echo "batch = 16"; echo "micro_batch = 8"; echo "steps = $steps"; echo "lr = $lr"
    echo "schedule = \"cosine\""; echo "warmup = 20"; echo "weight_decay = 0.1"; echo "clip = 1.0"; echo "seed = 1"; echo "checkpoint_every = $steps"
  } > "$out/$name.toml"
  say "train: $name"
  [ -d "$out/$name/checkpoints/step-$(printf %08d "$steps")" ] || "$bam" train "$out/$name.toml" --out "$out/$name" --resume
}
last() { echo "$out/$1/checkpoints/step-$(printf %08d "$2")"; }

run seed 250 2e-3 "config = \"$out/config.json\"" general=0.7 code=0.1 law=0.1 math=0.1
for domain in code law math; do
  run "$domain" 120 1e-3 "init_from = \"$(last seed 250)\"" "$domain=0.9" general=0.1
done
for method in bam bam-shared-kv btx; do
  say "upcycle: $method"
  [ -d "$out/$method-init" ] || "$bam" upcycle --method "$method" --seed-model "$(last seed 250)" \
    --experts "$(last code 120)" "$(last law 120)" "$(last math 120)" --top-k 1 --router-seed 1 --out "$out/$method-init"
  run "$method" 120 1e-3 "init_from = \"$out/$method-init\"" general=0.25 code=0.25 law=0.25 math=0.25
done

say "perplexity on held-out text of each domain"
models=() data=()
models+=(--model "seed=$(last seed 250)")
for name in code law math bam bam-shared-kv btx; do models+=(--model "$name=$(last "$name" 120)"); done
for domain in general code law math; do data+=(--data "$domain=$out/corpus/$domain/validation"); done
"$bam" eval "${models[@]}" "${data[@]}" | tee "$out/table.txt"
echo
echo "everything is in $out: models, run folders, table.txt"
