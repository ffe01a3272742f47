#!/bin/sh
# Dense and Llama folders that bam wrote give the logits that the transformers library gives for them, within 1e-4.
# Usage: tests/transformers.sh BAM [PYTHON]. Skips (77) where the library or torch is absent.
set -eu
bam=$1 python=${2:-${BAM_PYTHON:-python3}}
"$python" -c 'import torch, transformers, safetensors' 2>/dev/null || { echo "skipped: $python has no torch, transformers and safetensors"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$bam" data generate --out corpus --documents 30 --quiet
"$bam" tokenizer train --vocab-size 300 --out tok corpus/general --quiet >/dev/null
common='"vocab_size": 300, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0'
echo "{\"model_type\": \"cohere\", \"architectures\": [\"CohereForCausalLM\"], \"head_dim\": 8, \"logit_scale\": 0.5, $common}" >cohere.json
echo "{\"model_type\": \"llama\", \"architectures\": [\"LlamaForCausalLM\"], \"head_dim\": 16, \"rope_theta\": 5000.0, \"rms_norm_eps\": 1e-6, $common}" >llama.json
"$python" -c 'import json, random; random.seed(1); json.dump([[random.randrange(300) for _ in range(33)] for _ in range(3)], open("ids.json", "w"))'
for family in cohere llama; do
  printf '[model]\nconfig = "%s.json"\ntokenizer = "tok"\n[[data]]\npath = "corpus/general"\n[train]\ncontext = 32\nbatch = 4\nsteps = 20\nlr = 1e-2\ninit_std = 0.1\n' $family >$family.toml
  "$bam" train $family.toml --out $family --quiet >/dev/null
  "$bam" forward --model $family --ids ids.json --out $family.safetensors --quiet >/dev/null
  "$python" - $family <<'PY'
import json, sys, torch, transformers
from safetensors.torch import load_file
transformers.logging.set_verbosity_error()
name = sys.argv[1]
model = transformers.AutoModelForCausalLM.from_pretrained(f"{name}/checkpoints/step-00000020", dtype=torch.float32)
ids = torch.tensor(json.load(open("ids.json")))[:, :-1]
with torch.no_grad():
    theirs = model(ids).logits
ours = load_file(f"{name}.safetensors")["logits"]
error = (ours - theirs).abs().max().item()
scale = theirs.abs().max().item()
print(f"{type(model).__name__}: largest difference {error:.2e}, logits up to {scale:.2f}")
sys.exit(0 if error < 1e-4 and scale > 0.5 else 1)
PY
done
