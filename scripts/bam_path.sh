#!/usr/bin/env bash
# The whole BAM path: tokenizer, dense seed, three specialists, then BAM, BAM-shared-kv and BTX mixtures, and the table of
# perplexities. Fixed by tokens and seeds. Started again on the same folder it continues.
#   scripts/bam_path.sh BAM_BINARY OUT DATA    DATA has {general,code,law,math}/{train,validation}; a million parameters beside the
#                                              embedding, 4.1M seed tokens, 1.5M for each specialist and mixture
set -euo pipefail
bam=$1 out=$2 data=$3
mkdir -p "$out"
say() { printf '\n== %s\n' "$*"; }

vocab=4096 hidden=128 ffn=352 layers=5 context=256 batch=32 seed_steps=500 steps=184 seed_lr=3e-3 lr=1.5e-3 warmup=50
domains="general code law math"

say "tokenizer: byte-level BPE"
[ -f "$out/tokenizer/tokenizer.json" ] || "$bam" tokenizer train --vocab-size $vocab --out "$out/tokenizer" $(for d in $domains; do echo "$data/$d"; done)

cat > "$out/config.json" <<JSON
{"model_type": "cohere", "architectures": ["CohereForCausalLM"], "vocab_size": $vocab, "hidden_size": $hidden, "intermediate_size": $ffn,
 "num_hidden_layers": $layers, "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": $context,
 "logit_scale": 1.0, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
JSON

# run NAME STEPS LR MODEL-LINE DOMAIN=WEIGHT...
run() {
  local name=$1 steps=$2 lr=$3 model=$4
  shift 4
  { echo "[model]"; echo "$model"; echo "tokenizer = \"$out/tokenizer/tokenizer.json\""
    for source in "$@"; do
      echo "[[data]]"; echo "path = \"$data/${source%=*}\""; echo "weight = ${source#*=}"
    done
    echo "[train]"; echo "context = $context"; echo "batch = $batch"; echo "micro_batch = 8"; echo "steps = $steps"; echo "lr = $lr"
    echo "schedule = \"cosine\""; echo "warmup = $warmup"; echo "weight_decay = 0.1"; echo "clip = 1.0"; echo "seed = 1"; echo "checkpoint_every = 100"; echo "keep_checkpoints = 1"
  } > "$out/$name.toml"
  say "train: $name"
  [ -d "$(last "$name" "$steps")" ] || "$bam" train "$out/$name.toml" --out "$out/$name" --resume
}
last() { echo "$out/$1/checkpoints/step-$(printf %08d "$2")"; }

run seed $seed_steps $seed_lr "config = \"$out/config.json\"" general=0.7 code=0.1 law=0.1 math=0.1
for domain in code law math; do
  run "$domain" $steps $lr "init_from = \"$(last seed $seed_steps)\"" "$domain=0.9" general=0.1
done
for method in bam bam-shared-kv btx; do
  say "upcycle: $method"
  [ -d "$out/$method-init" ] || "$bam" upcycle --method "$method" --seed-model "$(last seed $seed_steps)" \
    --experts "$(last code $steps)" "$(last law $steps)" "$(last math $steps)" --top-k 1 --router-seed 1 --out "$out/$method-init"
  run "$method" $steps $lr "init_from = \"$out/$method-init\"" general=0.25 code=0.25 law=0.25 math=0.25
done

say "perplexity on held-out text of each domain"
models=(--model "seed=$(last seed $seed_steps)") sets=()
for name in code law math bam bam-shared-kv btx; do models+=(--model "$name=$(last "$name" $steps)"); done
for domain in $domains; do sets+=(--data "$domain=$data/$domain"); done
[ -f "$out/table.txt" ] || "$bam" eval "${models[@]}" "${sets[@]}" > "$out/table.txt.part"
[ -f "$out/table.txt" ] || mv "$out/table.txt.part" "$out/table.txt"
cat "$out/table.txt"

say "epochs of each source, in the order of the run file"
for name in seed code law math bam bam-shared-kv btx; do
  printf '%-14s %s  epochs %s\n' "$name" "$(grep -o '^path = .*' "$out/$name.toml" | sed 's|.*/||; s|"||' | tr '\n' ' ')" \
    "$(tail -n 1 "$out/$name/metrics.jsonl" | sed 's/.*"epochs": *\(\[[^]]*\]\).*/\1/')"
done
echo
echo "everything is in $out: models, run folders, table.txt"
