#!/usr/bin/env python3
"""What we want of a GPU, what a step's launches can reach at best, and what was measured: the table bench/results/gpu.md.

    python3 bench/gpu_table.py build/release/bam [gpu.jsonl] > bench/results/gpu.md

Floors and expectations are counted by `bam estimate --launches`; times, ours and PyTorch's, are those of scripts/gpu_check.sh, where its gpu.jsonl is given. What is not there says "not measured".
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
DENSE_PEAK = 989e12  # FLOP/s of an H100 or H200 in bf16, by the data sheet: what shares of a step count with
NONE = "not measured"

# Of a step of BAM S: what, its rows, a filter of launches, in what unit, what we want.
PIECES = [
    ("products", ["gemm"], lambda l: l["flops"] > 1e11, "TFLOP/s", "86% of cuBLAS's rate at 8192 x 8192 x 8192"),
    ("experts' products", ["grouped_gemm"], None, "TFLOP/s", "620"),
    ("attention forward", ["attention_forward"], None, "TFLOP/s", "520"),
    ("attention backward", ["attention_backward"], None, "TFLOP/s", "400"),
    ("norms, loss, AdamW", ["norm_forward", "norm_backward", "cross_entropy_forward", "cross_entropy_backward", "sum_squares", "adamw"], None, "TB/s", "3.9"),
    ("router with its plan, a layer", ["router_forward"], lambda l: "plan" in l["shape"], "us", "15"),
]
STEPS = [("s-dense", "dense S", 0.50), ("s-btx", "BTX S, top-1", 0.45), ("s-bam", "BAM S, top-1", 0.50), ("s-bam-shared-kv", "BAM S, shared keys and values, top-1", 0.50), ("p-small-bam", "BAM, the paper's small model", 0.55)]


def estimate(bam, config, *flags):
    command = [bam, "estimate", "--config", os.path.join(HERE, "configs", config + ".json"), "--json", "--quiet", *flags]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: bench/gpu_table.py BAM [gpu.jsonl]")
    bam = sys.argv[1]
    lines = []
    if len(sys.argv) == 3:
        with open(sys.argv[2], encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
    device = next((f"{line['gpu']}, {line['date']}" for line in lines if "gpu" in line), None)
    kernels = {(k["kernel"], k["shape"]): k for line in lines if "kernels_of" in line for k in line.get("kernels", [])}
    cublas = next((line["mm_8192_flops_per_second"] for line in lines if "kernels_of" in line and "kernels" in line), None)

    print("# What we want of an H200, and what is known\n")
    print("Floors count products at 790 TFLOP/s, cuBLAS's best on an H200, and bytes at 4.3 TB/s; expected is a judgement from public figures of other kernels (cuda-launches.md). Both are counted.")
    print(f"Measured: {device}." if device else "**Nothing has run on a GPU**: `scripts/gpu_check.sh OUT` runs all of it, and `python3 bench/gpu_table.py build/release/bam OUT/gpu.jsonl` makes this page again with what it found.")
    if cublas:
        print(f"cuBLAS at 8192 x 8192 x 8192 in the same run: {cublas / 1e12:.0f} TFLOP/s.")
    print("\n`python3 bench/gpu_table.py build/release/bam > bench/results/gpu.md`\n")
    print("## Pieces of a step of BAM S (bf16, 8 rows of 2,048 tokens)\n")
    print("| piece | unit | at its floor | expected | wanted | ours | PyTorch |\n|---|---|--:|--:|--:|--:|--:|")
    launches = estimate(bam, "s-bam", "--launches", "--device", "cuda", "--dtype", "bf16")["launches"]
    for what, rows, takes, unit, wanted in PIECES:
        own = [l for l in launches if l["kernel"] in rows and (takes is None or takes(l))]
        work = sum(l["count"] * l["flops" if unit == "TFLOP/s" else "bytes"] for l in own)

        def cell(seconds):  # of one launch; of any is unknown: of all is
            each = [seconds(l) for l in own]
            if any(s is None for s in each):
                return NONE
            total = sum(l["count"] * s for l, s in zip(own, each))
            return f"{total / own[0]['count'] * 1e6:.1f}" if unit == "us" else f"{work / total / 1e12:.{2 if unit == 'TB/s' else 0}f}"

        measured = lambda key: lambda l: kernels.get((l["kernel"], l["shape"]), {}).get(key)
        print(f"| {what} | {unit} | {cell(lambda l: l['floor_seconds'])} | {cell(lambda l: l['expected_seconds'])} | {wanted} | {cell(measured('seconds'))} | {cell(measured('peer_seconds'))} |")
    print(f"\n## Steps\n\nTokens a second, and the share that the model's own operations (causal attention at half, nothing computed again) have of {DENSE_PEAK / 1e12:.0f} TFLOP/s.\n")
    print("| model | at its floor | expected | wanted | ours | ours by wgmma | PyTorch | PyTorch, compiled |\n|---|--:|--:|--:|--:|--:|--:|--:|")
    for config, name, share in STEPS:
        step, model = estimate(bam, config, "--launches", "--device", "cuda", "--dtype", "bf16"), estimate(bam, config, "--context", "2048", "--rate", "1")
        tokens, flops = model["tokens_per_step"], model["flops_train_per_token"]
        rate = lambda r: NONE if r is None else f"{r:,.0f} ({100 * r * flops / DENSE_PEAK:.0f}%)"
        found = lambda **want: next((l["tokens_per_second"] for l in lines if l.get("step") == config and "tokens_per_second" in l and all(l.get(k) == v for k, v in want.items())), None)
        peer = lambda compiled: next((l["tokens_per_second"] for l in lines if l.get("step") == config and "peer" in l and l.get("compile") == compiled and "tokens_per_second" in l), None)
        print(f"| {name} | {rate(tokens / step['floor_seconds'])} | {rate(tokens / step['expected_seconds'])} | {rate(share * DENSE_PEAK / flops)} | {rate(found(**{'with': ''}))} | {rate(found(**{'with': 'BAM_CUDA_PATH=wgmma'}))} | {rate(peer(False))} | {rate(peer(True))} |")
    print("\nBAM S is wanted 1.3 times as fast as its twin in PyTorch, compiled, with flash attention and grouped products, in the same run: not measured." if not lines else "\nBAM S is wanted 1.3 times as fast as its twin in PyTorch, compiled, with flash attention and grouped products.")


main()
