#!/usr/bin/env python3
"""Markdown table of kernels_bench JSON files, passes of one machine with one instruction set and number of threads.

usage: table.py PASS.json...
A limit is the best of all passes. A row is the median of the third of its repetitions that got most of the processor (cores), so that
other work on the machine counts little; best is the fastest repetition, in % of the limit. Where arithmetic is the limit, "a core" is the percentage for the
processor time that the repetition got.
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
print("| kernel | case | ms | rate | % of limit | a core | limit | cores | best |\n|---|---|--:|--:|--:|--:|---|--:|--:|")
for name, bs in runs.items():
    used = sorted(bs, key=lambda b: -b["cores"])[: max(3, len(bs) // 3)]
    unit = "GFLOP/s" if "GFLOP/s" in bs[0] else "GB/s"
    limit = bs[0]["label"]
    for b in used:
        b["% of limit"] = 100 * b[unit] / limits[limit]
        b["a core"] = b["% of limit"] * threads / b["cores"]
    ms, rate, percent, core, cores = (statistics.median(b[key] for b in used) for key in ("real_time", unit, "% of limit", "a core", "cores"))
    kernel, case = name.split("/", 1)
    print(f"| {kernel} | {case} | {ms:.3g} | {rate:.3g} {unit} | {percent:.0f} | {f'{core:.0f}' if limit == 'fma' else ''} | {limit} "
          f"| {cores:.1f} | {100 * max(b[unit] for b in bs) / limits[limit]:.0f} |")
