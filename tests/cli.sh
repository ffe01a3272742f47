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

# Verbs and flags.
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

# Configs.
config() {
  printf '{"model_type": "bam", "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2%s}\n' "$1"
}
config '' >c.json
wrong 2 'key=value' estimate --config c.json --set novalue
for key in hidden_size num_hidden_layers num_attention_heads num_key_value_heads vocab_size head_dim; do
  for value in 0 -32 9223372036854775807 '"32"' 32.5 true; do wrong 3 "c.json: $key: .*${value#-}" estimate --config c.json --set "$key=$value"; done
done
wrong 3 'c.json: hidden_size: .*0' --set hidden_size=0 estimate --config c.json --set num_experts=4
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
right 'attention_backward .* bf16' estimate --config c.json --micro-batch 2 --context 64 --launches --device cuda --dtype bf16
right '"floor_seconds": ' estimate --config c.json --micro-batch 2 --context 64 --launches --json
right 'peak' estimate --config c.json --device cuda
right 'tokens/s ' estimate --config c.json --device cuda --rate 400000
right '^\{"parameters_total": [0-9]+, "parameters_active": [0-9]+, "flops_forward' estimate --config c.json --tokens-per-step 4096 --micro-batch 2 --context 64 --json
right 'peak' estimate --config c.json --set num_experts=4

# Output that cannot be written.
done=$((done + 3))
"$bam" estimate --config c.json >/dev/full 2>err; [ $? -eq 5 ] || { echo 'FAILED: stdout full'; failed=$((failed + 1)); }
"$bam" estimate --config c.json >&- 2>err; [ $? -eq 5 ] || { echo 'FAILED: stdout closed'; failed=$((failed + 1)); }
env -i "$bam" estimate --config c.json --json >out 2>err <&-; [ $? -eq 0 ] || { echo 'FAILED: bare environment'; failed=$((failed + 1)); }

# Tokenizer: train, encode, decode.
printf '{"text": "the cat sat on the mat the cat"}\n{"text": "caf\\u00e9 <EOS> 123"}\n' >text.jsonl
right '' tokenizer train --vocab-size 280 --out tok text.jsonl --json
size=$(sed 's/.*"vocab_size": \([0-9]*\).*/\1/' out)
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

# Generation: a model of one step, and completions that depend on nothing beside the prompt.
cat >tiny.json <<END
{"model_type": "bam", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
 "num_experts": 2, "num_attention_experts": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2}
END
cat >tiny.toml <<END
model = {config = "tiny.json", tokenizer = "tok"}
data = [{path = "text.jsonl"}]
train = {context = 16, batch = 2, steps = 1, lr = 1e-3}
END
right '"steps": 1' train tiny.toml --out tiny --json
right '"steps": 1' train tiny.toml --out tiny16 --json --dtype bf16
wrong 3 'another dtype' train tiny.toml --out tiny16 --resume
wrong 2 'computes in fp32' study bam --preset demo --dtype bf16 --out s16
right '^\{"text": ".*", "ids": \[([0-9]+, ){4}[0-9]+\], "stopped_by": "length"\}$' generate --model tiny --prompt 'the cat' --max-new-tokens 5 --temperature 0 --json
cp out greedy
printf '{"prompt": "the mat"}\n{"prompt": "the cat"}\n\n{"prompt": "", "id": 3}\n' >prompts.jsonl
right '^\{"completions": \[\{"text"' generate --model tiny --prompts prompts.jsonl --max-new-tokens 5 --json
right "$(sed 's/.*"ids": .\([0-9, ]*\).*/\1/' greedy)" generate --model tiny --prompts prompts.jsonl --max-new-tokens 5 --json
for batch in 1 2 3; do
  right 'completions' generate --model tiny --prompts prompts.jsonl --max-new-tokens 40 --temperature 1.1 --top-k 250 --top-p 0.99 --seed 4 --batch $batch --threads $batch --json
  cp out drawn$batch
  cmp -s drawn1 drawn$batch || { echo "FAILED: generate --batch $batch differs"; failed=$((failed + 1)); }
done
"$bam" generate --model tiny --prompts - --max-new-tokens 40 --temperature 1.1 --top-k 250 --top-p 0.99 --seed 4 --json <prompts.jsonl >out 2>err
cmp -s out drawn1 || { echo 'FAILED: generate --prompts -'; failed=$((failed + 1)); }
printf 'the cat' | "$bam" generate --model tiny --prompt - --max-new-tokens 5 --json >out 2>err
cmp -s out greedy || { echo 'FAILED: generate --prompt -'; failed=$((failed + 1)); }
# What is streamed is the text of the ids; a model may have ids that its tokenizer lacks.
right '' generate --model tiny --prompt 'the cat' --max-new-tokens 60 --temperature 1 --seed 4
cp out streamed.txt
"$bam" generate --model tiny --prompt 'the cat' --max-new-tokens 60 --temperature 1 --seed 4 --json >drawn 2>err
sed 's/.*"ids": .\([0-9, ]*\).*/\1/' drawn | tr -d ' ' | tr , '\n' | awk -v size="$size" '$1 < size' | paste -s -d , - >shown
"$bam" tokenizer decode --tokenizer tok --ids "$(cat shown)" --json >decoded 2>err
[ "$(sed 's/^{"text": \(.*\), "ids.*/\1/' drawn)" = "$(sed 's/^{"texts": .\(.*\).}$/\1/' decoded)" ] || { echo 'FAILED: generate text and ids differ'; failed=$((failed + 1)); }
"$bam" tokenizer encode --tokenizer tok streamed.txt --json >out 2>err || { echo 'FAILED: generate streams no UTF-8'; failed=$((failed + 1)); }
done=$((done + 6))
wrong 2 'wanted --prompt TEXT or --prompts' generate --model tiny
wrong 2 'one of the two' generate --model tiny --prompt a --prompts prompts.jsonl
wrong 2 '--model' generate --prompt a
for text in -0.1 nan x; do wrong 2 "--temperature: .*'$text'" generate --model tiny --prompt a --temperature "$text"; done
for text in 0 1.5; do wrong 2 '--top-p' generate --model tiny --prompt a --top-p "$text"; done
wrong 2 '--top-k' generate --model tiny --prompt a --top-k -1
wrong 2 '--max-new-tokens' generate --model tiny --prompt a --max-new-tokens -1
wrong 2 'did you mean --max-new-tokens' generate --model tiny --prompt a --max-new-token 3
wrong 3 '--prompt: prompt 1 has 65 tokens with BOS, the context 64' generate --model tiny --prompt "$(printf '1%.0s' $(seq 64))"
wrong 3 'context 2;' generate --model tiny --prompts prompts.jsonl --context 2
printf '{"prompt": "a"}\n{"text": "b"}\n' >prompts2.jsonl
wrong 3 'prompts2.jsonl:2.*prompt' generate --model tiny --prompts prompts2.jsonl
wrong 3 'absent.jsonl' generate --model tiny --prompts absent.jsonl
wrong 3 'found none' generate --model tiny --prompts -
mkdir bare
cp tiny/checkpoints/step-00000001/config.json tiny/checkpoints/step-00000001/model.safetensors bare
wrong 3 'bare: wanted tokenizer.json' generate --model bare --prompt a
wrong 3 'absent' generate --model absent --prompt a

# One batch, never over the model that computes it.
printf '[[1, 2, 3]]' >rows.json
right '"loss": ' forward --model tiny --ids rows.json --out rows.safetensors --json
wrong 2 'lies in the folder of --model' forward --model tiny --ids rows.json --out tiny/checkpoints/../checkpoints/step-00000001/model.safetensors

# A signal that was ignored from the start stays ignored; the others save and stop.
(trap '' HUP; exec "$bam" train tiny.toml --out nohup --set train.steps=1000000 --quiet >out 2>err) &
pid=$!
for second in 1 2 3 4 5 6 7 8 9 10; do [ -s nohup/events.jsonl ] || sleep 1; done
grep -q '^SigIgn:.*[13579bdf]$' /proc/$pid/status || { echo 'FAILED: nohup bam train minds SIGHUP'; failed=$((failed + 1)); }
kill $pid
wait $pid
[ $? -eq 143 ] || { echo 'FAILED: train does not say that SIGTERM stopped it'; failed=$((failed + 1)); }
done=$((done + 2))

# Fine-tuning: what the trainer sees.
printf '{"prompt": "the cat", "completion": "sat", "lang": "en", "task": "t", "id": 1}\n{"messages": [{"role": "user", "content": "<EOS><BOS>"}, {"role": "assistant", "content": "mat"}]}\n{"messages": [{"role": "user", "content": "a"}]}\n' >chat.jsonl
config ', "max_position_embeddings": 32, "bos_token_id": 1, "eos_token_id": 2' | sed 's/"vocab_size": 97/"vocab_size": 280/; s/"bam"/"cohere"/' >dense.json
printf '[model]\nconfig = "dense.json"\ntokenizer = "tok"\n[[data]]\npath = "chat.jsonl"\nformat = "chat"\n[train]\ncontext = 32\nbatch = 2\nsteps = 2\npacking = false\n' >ft.toml
right '"mask": \[0, .*, 1\]' data show ft.toml --rows 2 --json
right '«' data show ft.toml
right '⟦<BOS>⟧<EOS><BOS>«mat⟦<EOS>⟧»' data show ft.toml
right '"special": \[1, 0, .*, 1\]' data show ft.toml --rows 2 --json
right "no assistant's turn" data show ft.toml --dropped
right '"examples": 2, .*"dropped": 1, .*"by_language": .*"en"' data stats ft.toml --json
right '"steps": 2' train ft.toml --out ft --json
wrong 3 'chat.tokens|--special' train ft.toml --set train.template=cohere --out ft2
wrong 3 'train.template' train ft.toml --set 'train.template={% for x in y %}' --out ft2
wrong 3 'did you mean packing' train ft.toml --set train.paking=true --out ft2
wrong 3 'data.format' train ft.toml --set data.0.format=jsonl --out ft2
wrong 3 'longer than the context of 1' train ft.toml --set train.context=1 --out ft2
for line in '[1]' '{}' '{"prompt": null, "completion": "b"}' '{"messages": [{"role": "tool", "content": "x"}]}' '{"instruction": "a", "output": "b"}'; do
  { head -n 2 chat.jsonl; printf '\n\n%s\n' "$line"; } >bad.jsonl
  wrong 3 'bad.jsonl:5' train ft.toml --set data.0.path=bad.jsonl --out ft2
done
tail -n 1 chat.jsonl >bad.jsonl
wrong 3 "bad.jsonl: nothing to train on in 1 examples: 1 without an assistant's turn" train ft.toml --set data.0.path=bad.jsonl --out ft2
printf '\037\213\010\000' >bad.jsonl
wrong 3 'gzip' train ft.toml --set data.0.path=bad.jsonl --out ft2
printf 'PAR1\025\004\000' >bad.jsonl
wrong 3 'bad.jsonl: .*this is a Parquet file .convert it' train ft.toml --set data.0.path=bad.jsonl --out ft2
wrong 3 'bad.jsonl: .*this is a Parquet file' tokenizer train --vocab-size 280 --out tok2 bad.jsonl
printf '\377\376{\000' >bad.jsonl
wrong 3 'UTF-16' train ft.toml --set data.0.path=bad.jsonl --out ft2
printf 'prompt,completion\na,b\n' >bad.jsonl
wrong 3 'CSV' train ft.toml --set data.0.path=bad.jsonl --out ft2
printf '[\n{"prompt": "a"}\n]\n' >bad.jsonl
wrong 3 'several lines' train ft.toml --set data.0.path=bad.jsonl --out ft2
printf '{"prompt": "\355\240\200", "completion": "b"}\n' >bad.jsonl
wrong 3 'bad.jsonl:1' train ft.toml --set data.0.path=bad.jsonl --out ft2
right '' tokenizer train --vocab-size 280 --special '<|START_OF_TURN_TOKEN|>' --special '<|END_OF_TURN_TOKEN|>' --special '<|SYSTEM_TOKEN|>' --special '<|USER_TOKEN|>' --special '<|CHATBOT_TOKEN|>' --out turns text.jsonl --json
right '<.USER_TOKEN.>' data show ft.toml --set model.tokenizer=turns --set train.template=cohere
[ -e ft2 ] && { echo 'FAILED: ft2 was written'; failed=$((failed + 1)); }
wrong 2 'special tokens like' tokenizer train --vocab-size 290 --special '' --out tok2 text.jsonl

# A conversation: one turn a line, with the text of the whole so far as one prompt.
printf 'the cat\n\n/reset\nthe cat\n/rest\nsat on\n/quit\nthe mat\n' >turns.txt
talk() { "$bam" chat "$@" <turns.txt >out 2>err; }
talk --model ft --max-new-tokens 4 --json || { echo "FAILED: chat: $(head -n 1 err)"; failed=$((failed + 1)); }
[ "$(wc -l <out)" = 3 ] && grep -q '^{"turn": 3, "text": .*"stopped_by": ".*", "prompt_tokens": [0-9]*, "fed_tokens": [0-9]*, "dropped_turns": 0}$' out && grep -q "wanted /reset or /quit" err || { echo 'FAILED: chat --json'; failed=$((failed + 1)); }
[ "$(sed -n '1s/.*"text"/"text"/p' out)" = "$(sed -n '2s/.*"text"/"text"/p' out | sed 's/"fed_tokens": [0-9]*/'"$(sed -n '1s/.*\("fed_tokens": [0-9]*\).*/\1/p' out)"'/')" ] || { echo 'FAILED: chat /reset'; failed=$((failed + 1)); }
first=$(sed -n '1s/.*\("ids": [^]]*\).*/\1/p' out)
right "$(printf %s "$first" | sed 's/.*\[//')" generate --model ft --prompt 'the cat' --max-new-tokens 4 --json
talk --model ft --max-new-tokens 8 --context 20 --json --system 'cat sat' || { echo "FAILED: chat: $(head -n 1 err)"; failed=$((failed + 1)); }
printf 'the cat' | "$bam" chat --model ft --max-new-tokens 4 >out 2>err && [ "$(wc -l <out)" -ge 1 ] || { echo 'FAILED: chat without a line end'; failed=$((failed + 1)); }
done=$((done + 6))
"$bam" chat --model ft </dev/null >out 2>err && [ ! -s out ] || { echo 'FAILED: chat without a turn'; failed=$((failed + 1)); }
printf 'the cat sat on the mat\n' >turns.txt
talk --model ft --context 3
[ $? -eq 3 ] && grep -q '^error.chat.context.: .*the context 3; shorten it' err || { echo "FAILED: chat, a turn too long: $(head -n 1 err)"; failed=$((failed + 1)); }
wrong 2 '--model' chat
wrong 2 '--template: wanted plain.cohere' chat --model ft --template llama
wrong 3 'chat.tokens|--special' chat --model ft --template cohere
wrong 3 'bare: wanted tokenizer.json' chat --model bare

# Answers of examples, as training scores them.
right '"sets": \{"a": \{"documents": 2, .*"dropped": 1, "by_language": \{"en": \{"nll": .*"by_task"' eval --model ft --data a=chat.jsonl --template plain --json
cp out scored
right 'steps' train ft.toml --out fteval --json --set 'eval=[{name = "a", path = "chat.jsonl", format = "chat"}]'
grep -q '"event": "overlap", .*eval.* a: 2 of 2 are in' fteval/events.jsonl && grep -q 'warning: .*2 of 2' err || { echo 'FAILED: train says nothing of an example in [[data]] and [[eval]]'; failed=$((failed + 1)); }
done=$((done + 1))
nll=$(sed -n 's/.*"eval": "a", "nll": \([0-9.]*\),.*/\1/p' fteval/metrics.jsonl | tail -n 1)
right "\"nll\": $nll" eval --model fteval --data a=chat.jsonl --template plain --json
right '^perplexity' eval --model ft --data a=chat.jsonl --template plain
wrong 3 'chat.jsonl:1: .*format = "chat"' eval --model ft --data a=chat.jsonl
wrong 3 'chat.tokens|--special' eval --model ft --data a=chat.jsonl --template cohere
wrong 2 '--template scores the answers' eval --model ft --data a=chat.jsonl --template plain --zstd

# Mixtures.
for i in 1 2 3 4 5 6; do
  printf '{"id": "e%s", "parallel_id": "p%s", "task": "t", "lang": "en", "prompt": "en %s", "completion": "a"}\n' $i $i $i >>en.jsonl
  printf '{"id": "f%s", "parallel_id": "p%s", "task": "t", "lang": "fr", "prompt": "fr %s", "completion": "b"}\n' $i $i $i >>fr.jsonl
done
printf 'sources = ["en.jsonl", "fr.jsonl"]\n[[part]]\ntask = "t"\nlanguage = "en"\nn = 5\n[additive]\nlanguages = ["fr"]\nk = 2\n' >mix.toml
right '"examples": 7, "sha256": .*"language": "fr", "n": 2, "seed": 1, "available": 6, "passes": 0, "rest": 2' data mix mix.toml --out mix --json
right '^t +fr +2 +6' data mix mix.toml --out mix4 --set additive.k=2
[ "$(wc -l <mix/train.jsonl)" = 7 ] && cmp -s mix/train.jsonl mix4/train.jsonl || { echo 'FAILED: data mix wrote other lines'; failed=$((failed + 1)); }
right '"examples": 7' data stats ft.toml --set data.0.path=mix/train.jsonl --json
right '"steps": 1' train ft.toml --set data.0.path=mix/train.jsonl --set train.steps=1 --out ftmix --json
wrong 5 'already' data mix mix.toml --out mix
right '"examples": 5' data mix mix.toml --out mix --force --json --set additive.k=0
wrong 3 'wanted 7 examples of t in fr, the sources have 6.*repeat = true' data mix mix.toml --out mix2 --set additive.k=7
right '"passes": 1, "rest": 1' data mix mix.toml --out mix5 --set additive.k=7 --set repeat=true --json
wrong 3 "no source has t in de" data mix mix.toml --out mix2 --set 'additive.languages=["de"]'
wrong 3 'additive.kk is no key .*languages, k' data mix mix.toml --out mix2 --set additive.kk=1
printf '{"task": "t", "parallel_id": "p2", "prompt": "x", "completion": "a"}\n' >held.jsonl
wrong 3 'en.jsonl:2: is held out too, by its id: .*held.jsonl:1' data mix mix.toml --out mix2 --set 'held_out=["held.jsonl"]'
right '"dropped_held_out": 2' data mix mix.toml --out mix6 --set 'held_out=["held.jsonl"]' --set drop_held_out=true --json
mkdir -p split/train split/validation split/test
cp en.jsonl split/train
sed -n 3p fr.jsonl >split/validation/fr.jsonl
wrong 3 'en.jsonl:3: is held out too, by its id: .*split/validation/fr.jsonl:1; .*drop_held_out' data mix mix.toml --out mix2 --set 'sources=["split", "fr.jsonl"]'
right '"held_out": \[".*split/validation", ".*split/test"\], "held_out_examples": 1, "in_two_splits": 0, "dropped_held_out": 2' data mix mix.toml --out mix7 --set 'sources=["split", "fr.jsonl"]' --set drop_held_out=true --json
cp split/validation/fr.jsonl split/test
wrong 3 'test/fr.jsonl:1: is in test and in validation too, by its id: .*drop_held_out = true' data mix mix.toml --out mix2 --set 'sources=["split", "fr.jsonl"]'
right '"in_two_splits": 1, "dropped_held_out": 2' data mix mix.toml --out mix9 --set 'sources=["split", "fr.jsonl"]' --set drop_held_out=true --json
right '"held_out": \[\]' data mix mix.toml --out mix8 --set 'sources=["split", "fr.jsonl"]' --set own_splits=false --json
wrong 3 'chat.jsonl:2: wanted an example with "task" and "lang"' data mix mix.toml --out mix2 --set 'sources=["chat.jsonl"]'
wrong 3 'absent.jsonl' data mix mix.toml --out mix2 --set 'sources=["absent.jsonl"]'
wrong 2 'wanted --out DIR' data mix mix.toml
wrong 3 'absent.toml' data mix absent.toml --out mix2
[ -e mix2 ] && { echo 'FAILED: mix2 was written'; failed=$((failed + 1)); }
right '"examples": 3' data languages --documents 2 --examples 3 --held-out 1 --out langs --json
right '"examples": 30, .*"gl9": .*"arithmetic": ' data stats ft.toml --set data.0.path=langs/arithmetic --set train.context=1024 --json
for split in train validation; do [ -s langs/lm/$split/gl9.jsonl ] || { echo 'FAILED: data languages'; failed=$((failed + 1)); }; done
wrong 2 '--examples' data languages --examples 0 --out langs2
wrong 2 'wanted --out DIR' data languages

# Evaluation: a model, what stands beside it, answers that compete.
printf '{"model_type": "cohere", "vocab_size": 280, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}' >small.json
printf '[model]\nconfig = "small.json"\ntokenizer = "tok"\n[[data]]\npath = "text.jsonl"\n[train]\ncontext = 16\nbatch = 2\nsteps = 1\n' >small.toml
right '"steps": 1' train small.toml --out small --json
right '^\{"sets": \{"a": \{"documents": 2, "tokens": [0-9]+, "bytes": 45, "nll": 5' eval --model small --data a=text.jsonl --json
right '"ngram": \{"a": \{"documents": 2, .*"bits_per_byte": .*"stderr": .*"order": 3\}\}, "zstd": \{"a": \{"documents": 2, "bytes": 45, "compressed_bytes": [0-9]+, "bits_per_byte": ' eval --model small --data a=text.jsonl --ngram 3 --ngram-train text.jsonl --zstd --json
right '^3-gram' eval --model small --data a=text.jsonl --ngram 3 --ngram-train text.jsonl
right '^zstd -19' eval --model small --data a=text.jsonl --zstd
printf '{"prompt": "the cat", "choices": [" sat", " mat", " on"], "answer_index": 0}\n{"prompt": "a prompt that is too long for it", "choices": ["x", "y"], "answer_index": 1}\n' >items.jsonl
right '"sets": \{\}, "choice": \{"c": \{"n": 2, "cut": 1, "dropped": 0, "chance": 0.41666666666666[0-9]*, "accuracy_sum": .*"accuracy_per_byte": .*"low": .*"high": ' eval --model small --choice c=items.jsonl --json
right '"models": \{"m": \{"sets": .*"choice": .*\}, "n": .*"ngram": ' eval --model m=small --model n=small --data a=text.jsonl --choice c=items.jsonl --ngram 2 --ngram-train text.jsonl --json
right 'c +n +chance +accuracy per byte' eval --model small --choice c=items.jsonl
wrong 2 'wanted --model DIR and --data NAME=FILE, --choice NAME=FILE or --generate' eval --model small
wrong 2 '--ngram-train PATH go together' eval --model small --data a=text.jsonl --ngram 3
wrong 2 '--ngram-train PATH go together' eval --model small --data a=text.jsonl --ngram-train text.jsonl
wrong 2 '--ngram: wanted an integer from 1 to 12' eval --model small --data a=text.jsonl --ngram 13 --ngram-train text.jsonl
wrong 2 'want --data' eval --model small --choice c=items.jsonl --zstd
wrong 2 'the name c is given twice' eval --model small --choice c=items.jsonl --choice c=text.jsonl
wrong 3 'absent.jsonl' eval --model small --data a=text.jsonl --ngram 3 --ngram-train absent.jsonl
wrong 3 'text.jsonl:1: wanted the key "prompt"' eval --model small --choice c=text.jsonl
printf '{"prompt": "the cat", "choices": [" sat", ""], "answer_index": 0}\n' >items.jsonl
wrong 3 'none of 1 items' eval --model small --choice c=items.jsonl

# The plan of the study of BAM, with evaluation.
printf '[study]\narms = ["btx", "dense"]\nseed_tokens = 64\nexpert_tokens = 64\nmixture_tokens = 64\nvocab_size = 280\ncontext = 16\nbatch = 2\ndocuments = 10\neval_documents = 1\n[[size]]\nname = "d8"\nhidden = 8\nffn = 8\nlayers = 1\nheads = 1\n' >bam.toml
right '"runs": \[\{"run": "d8/r1/seed", "arm": "seed", "tokens": [0-9]+, .*"eval_tokens": [1-9]' study bam bam.toml --plan --json
right 'hours at the speeds measured now' study bam bam.toml --plan

# Answers that are written.
printf '{"prompt": "the cat", "completion": "sat 3", "lang": "en"}\n{"prompt": "the mat and the cat and the mat", "answer": "4", "lang": "fr"}\n' >written.jsonl
right '"sets": \{\}, "generate": \{"w": \{"n": 2, "cut": 1, "unfinished": [012], "tokens": [0-9]+, "metrics": \{"number": \{"n": 2, "value": 0.0, "low": 0.0, "high": 0.65.*"by_language": \{"en": \{"n": 1, ' eval --model small --generate w=written.jsonl --metric number --json
for batch in 1 2; do
  right '"difference": \{"to": "a", "n": 2, "value": 0.0, "low": 0.0, "high": 0.0, "p": 1.0\}' eval --model a=small --model b=small --generate w=written.jsonl --metric number --metric w=chrf --max-new-tokens 6 --micro-batch $batch --generations written$batch.jsonl --json
done
[ "$(wc -l <written1.jsonl)" = 4 ] && cmp -s written1.jsonl written2.jsonl || { echo 'FAILED: eval --generations depends on the batch'; failed=$((failed + 1)); }
first=$(sed -n '1s/.*"text": "\(.*\)", "stopped_by".*/\1/p' written1.jsonl)
"$bam" generate --model small --prompt 'the cat' --max-new-tokens 6 --json >out 2>err
grep -Fq "\"text\": \"$first\"" out || { echo 'FAILED: eval --generate writes another text than bam generate'; failed=$((failed + 1)); }
done=$((done + 2))
right '^w +n +cut +no end +chrf, difference to a' eval --model a=small --model b=small --generate w=written.jsonl --metric chrf
printf '{"prompt": "the cat", "checks": [{"kind": "no_commas"}, {"kind": "language", "lang": "en"}], "lang": "en"}\n' >checked.jsonl
printf '{"text": "the cat sat", "lang": "en"}\n{"text": "le chat noir", "lang": "fr"}\n' >lang.jsonl
head -n 1 lang.jsonl >en.lang.jsonl
right '"instructions": \{"n": 0, .*"undecided": 1' eval --model small --generate w=checked.jsonl --metric instructions --json
right '"language": \{"n": 1, ' eval --model small --generate w=checked.jsonl --generate v=written.jsonl --metric w=language --metric v=match --language-text lang.jsonl --json
wrong 2 'w wants a --metric' eval --model small --generate w=written.jsonl
wrong 2 'did you mean match' eval --model small --generate w=written.jsonl --metric matsh
wrong 2 "no --generate has the name 'v'" eval --model small --generate w=written.jsonl --metric v=match
wrong 2 'want --generate' eval --model small --data a=text.jsonl --metric match
wrong 2 'wants --language-text' eval --model small --generate w=written.jsonl --metric language
wrong 2 'is there already; --force' eval --model small --generate w=written.jsonl --metric match --generations lang.jsonl
wrong 3 'written.jsonl:2: --language-text has no texts of the language fr' eval --model small --generate w=written.jsonl --metric language --language-text en.lang.jsonl
wrong 3 'written.jsonl:1: the metric instructions wants "checks"' eval --model small --generate w=written.jsonl --metric instructions
wrong 3 'max-new-tokens: wanted less than the context of 16' eval --model small --generate w=written.jsonl --metric match --max-new-tokens 16
wrong 3 'chat.tokens|--special' eval --model small --generate w=written.jsonl --metric match --template cohere

# The study of transfer.
printf '[study]\nseen = ["gl1"]\nunseen = ["gl2"]\ntasks = ["instructions"]\nsettings = ["single"]\nk = [0, 2]\nenglish = 4\npretrain_tokens = 600\nvocab_size = 280\ncontext = 384\nbatch = 1\nitems = 2\nrivals = 1\nvalidation = 0\ncontrols = false\n[[size]]\nname = "d8"\nhidden = 8\nffn = 8\nlayers = 1\nheads = 1\n' >clt.toml
right '"runs": \[\{"run": "d8/r1/base", "tokens": [0-9.]+, "flops": ' study clt clt.toml --plan --json
right 'rank +[0-9.]+' study clt clt.toml --out clt --quiet
for file in results.json ledger.json report.html tables/runs.csv tables/directions.csv; do [ -s clt/$file ] || { echo "FAILED: study clt writes no $file"; failed=$((failed + 1)); }; done
right '"study": "clt", .*"not testable here"' study clt clt.toml --out clt --report --json
wrong 2 'FILE.toml or --preset demo' study clt --out c
wrong 2 'wanted --out DIR, or --plan' study clt clt.toml
wrong 3 'absent.toml' study clt absent.toml --out c
wrong 3 'did you mean gl1' study clt clt.toml --out c --set 'study.seen=["gl"]'
wrong 3 'clt/study.json: the study in this folder has other settings' study clt clt.toml --out clt --seed 2
wrong 3 'there is no runs/ in it' study clt clt.toml --out c --report

# Reports: of runs beside the run, of studies where --out says.
right '"written": \["tiny/report.html"\]' report tiny --json
[ -s tiny/report.html ] || { echo 'FAILED: bam report wrote no page'; failed=$((failed + 1)); }
cp clt/report.html clt.html
right 'clt/report.html' report clt
cmp -s clt/report.html clt.html || { echo "FAILED: the page of a finished study differs from its own"; failed=$((failed + 1)); }
wrong 2 'is a study, which has a page of its own' report clt tiny
wrong 2 'wanted the folder of a run' report
wrong 2 'belong to --studies' report tiny --plot x.svg
wrong 2 'wanted --out FILE.md' report --studies tiny
wrong 3 'metrics.jsonl, found none' report tok
wrong 3 'results.json, found none' report --studies tiny --out page.md

echo "cli: $done checks, $failed failed"
[ "$failed" -eq 0 ]
