#!/usr/bin/env python3
"""Markdown table of kernels_bench JSON files, passes of one machine with one instruction set and number of threads.

usage: table.py PASS.json...
A limit is the best of all passes. A rate is the median of the repetitions that had the processor to themselves (cores of at least
95 % of the threads) where there are three, else of all of them, marked *. best is the fastest repetition.
"""
import json, statistics, sys

passes = [json.load(open(name)) for name in sys.argv[1:]]
contexts = [p["context"] for p in passes]
if len({(c["isa"], c["threads"]) for c in contexts}) != 1:
    sys.exit("table.py: the passes differ in instruction set or threads")
threads = int(contexts[0]["threads"])
limits = {key.split()[1]: max(float(c[key]) for c in contexts) for key in contexts[0] if key.startswith("limit ")}

runs, errors = {}, []
for p in passes:
    for b in p["benchmarks"]:
        if b.get("error_occurred"):
            errors.append(f"{b['name']}: {b['error_message']}")
        elif b["run_type"] == "iteration":
            runs.setdefault(b["name"].removesuffix("/real_time"), []).append(b)
if errors:
    sys.exit("\n".join(errors))

print(f"Limits ({contexts[0]['isa']}, threads: {threads}): " + ", ".join(f"{k} {v} {'GFLOP/s' if k == 'fma' else 'GB/s'}" for k, v in limits.items()) + "\n")
print("| kernel | case | ms | rate | % of limit | limit | cores | best |\n|---|---|--:|--:|--:|---|--:|--:|")
for name, bs in runs.items():
    quiet = [b for b in bs if b["cores"] >= 0.95 * threads]
    used = quiet if len(quiet) >= 3 else bs
    unit = "GFLOP/s" if "GFLOP/s" in bs[0] else "GB/s"
    rate = statistics.median(b[unit] for b in used)
    ms, cores = (statistics.median(b[key] for b in used) for key in ("real_time", "cores"))
    kernel, case = name.split("/", 1)
    limit = bs[0]["label"]
    print(f"| {kernel} | {case} | {ms:.3g} | {rate:.3g} {unit} | {100 * rate / limits[limit]:.0f}{'' if used is quiet else '*'} | {limit} "
          f"| {cores:.1f} | {max(b[unit] for b in bs):.3g} |")
