#!/usr/bin/env python3
"""The kernels of a training step in PyTorch: what the launches of cuda_step are compared with, one by one.

    build/gpu/bench/cuda_step --config config.json --json > step.json
    bench/peers/torch_kernels.py step.json [--device cuda] [--no-compile] [--repeat 20]

For each launch of step.json the call that does the same in PyTorch: torch.mm, which is cuBLAS and, where it chooses so, cuBLASLt; torch._grouped_mm; scaled_dot_product_attention by flash
attention and by cuDNN, whichever is faster, without the gates that ours has; norms, SwiGLU, RoPE and cross-entropy by torch.compile; fused AdamW. Timed as ours are: a call alone and the
wait for it; of --repeat calls the median. A launch that has no counterpart (routers, plans) has an empty cell. Works on `bam estimate --launches --json` as well, which has no times of ours.
Prints one JSON object; a table goes to stderr.
"""
import argparse
import functools
import json
import re
import statistics
import sys
import time

import torch
import torch._functorch.config
import torch.nn.functional as F


def arguments():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("step", help="JSON of cuda_step or of bam estimate --launches")
    p.add_argument("--device", default="cuda")
    p.add_argument("--no-compile", action="store_true", help="eager PyTorch throughout")
    p.add_argument("--repeat", type=int, default=20)
    p.add_argument("--context", type=int, help="tokens of a row, where the file does not say (default 2048)")
    return p.parse_args()


class Peers:
    """Each method makes the tensors of a launch and gives (name of the call, function to time) pairs, of which the fastest counts."""

    def __init__(self, device, compiled, context):
        self.device, self.compiled, self.context = device, compiled, context

    def tensor(self, *shape, dtype=torch.bfloat16, grad=False):
        return torch.randn(*shape, device=self.device, dtype=torch.float32).to(dtype).requires_grad_(grad)

    def compile(self, f):
        return torch.compile(f, dynamic=False) if self.compiled else f

    def name(self, f):
        return f + (", compiled" if self.compiled else "")

    def backward(self, name, y, inputs, dy):
        return [(name, lambda: torch.autograd.grad(y, inputs, dy, retain_graph=True))]

    @staticmethod
    def numbers(shape):
        return [int(n) for n in re.findall(r"\d+", shape.replace("bf16", ""))]

    @staticmethod
    def dtype(shape):
        return torch.bfloat16 if shape.endswith("bf16") else torch.float32

    def operands(self, m, n, k, shape):
        layout, dtype = re.search(r"\b[NT]{2}\b", shape)[0], self.dtype(shape)
        a = self.tensor(k, m, dtype=dtype).t() if layout[0] == "T" else self.tensor(m, k, dtype=dtype)
        b = self.tensor(n, k, dtype=dtype).t() if layout[1] == "T" else self.tensor(k, n, dtype=dtype)
        return a, b

    def gemm(self, shape):
        m, n, k, *batch = self.numbers(shape)
        if batch:
            return []
        a, b = self.operands(m, n, k, shape)
        return [("mm", lambda: torch.mm(a, b))]

    def gemm_pair(self, shape):
        sizes = self.numbers(shape)
        a, b = self.operands(*sizes[:3], shape)
        c, d = self.operands(*sizes[3:], shape)
        if "+" in shape:
            return [("mm, addmm", lambda: torch.addmm(torch.mm(a, b), c, d))]
        return [("mm each", lambda: (torch.mm(a, b), torch.mm(c, d)))]

    def grouped_gemm(self, shape):
        *sizes, experts = self.numbers(shape)
        layout, dtype = re.search(r"\b[NT]{2}\b", shape)[0], self.dtype(shape)
        if layout == "TN":
            m, n, rows = sizes
            a, b = self.tensor(rows, m, dtype=dtype).t(), self.tensor(rows, n, dtype=dtype)
        else:
            rows, n, k = sizes
            a = self.tensor(rows, k, dtype=dtype)
            b = self.tensor(experts, n, k, dtype=dtype).transpose(1, 2) if layout == "NT" else self.tensor(experts, k, n, dtype=dtype)
        ends = [rows * (e + 1) // experts for e in range(experts)]
        begins = [0] + ends[:-1]
        after = None  # what our kernel does beside the product
        if "gradient" in shape:
            x = self.tensor(rows, 2 * n, dtype=dtype, grad=True)
            y = self.compile(self.swiglu)(x)
            after = lambda dy: torch.autograd.grad(y, (x,), dy, retain_graph=True)
        elif "SwiGLU" in shape:
            after = self.compile(self.swiglu)
        found = []
        if hasattr(torch, "_grouped_mm") and dtype == torch.bfloat16:
            offsets = torch.tensor(ends, device=self.device, dtype=torch.int32)
            found.append(("_grouped_mm", (lambda: after(torch._grouped_mm(a, b, offsets))) if after else lambda: torch._grouped_mm(a, b, offsets)))
        if layout == "TN":
            found.append(("mm each", lambda: [torch.mm(a[:, i:j], b[i:j]) for i, j in zip(begins, ends)]))
        else:
            each = lambda: [torch.mm(a[i:j], b[e]) for e, (i, j) in enumerate(zip(begins, ends))]
            found.append(("mm each", (lambda: after(torch.cat(each()))) if after else each))
        return found

    def attention(self, shape, backward):
        tokens, heads, width, keys = self.numbers(shape)
        context = min(self.context, tokens)
        dtype = self.dtype(shape)
        q = self.tensor(tokens // context, heads, context, width, dtype=dtype, grad=backward)
        k, v = (self.tensor(tokens // context, keys, context, width, dtype=dtype, grad=backward) for _ in range(2))
        found = []
        from torch.nn.attention import SDPBackend, sdpa_kernel

        for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION), ("math", SDPBackend.MATH)):
            if name == "math" and (found or self.device.type == "cuda"):
                continue

            def forward(backend=backend):
                with sdpa_kernel(backend):
                    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != keys)

            try:
                y = forward()
            except RuntimeError:
                continue
            found += self.backward(name, y, (q, k, v), torch.randn_like(y)) if backward else [(name, forward)]
        return found

    def attention_forward(self, shape):
        return self.attention(shape, False)

    def attention_backward(self, shape):
        return self.attention(shape, True)

    def norm_forward(self, shape):
        rows, columns = self.numbers(shape)
        x, w = self.tensor(rows, columns, dtype=torch.float32), self.tensor(columns, dtype=torch.float32)
        f = self.compile(lambda: F.layer_norm(x, (columns,), w).to(torch.bfloat16))
        return [(self.name("layer_norm"), f)]

    def norm_backward(self, shape):
        rows, columns = self.numbers(shape)
        x, w = self.tensor(rows, columns, dtype=torch.float32, grad=True), self.tensor(columns, dtype=torch.float32, grad=True)
        y = self.compile(lambda x, w: F.layer_norm(x, (columns,), w))(x, w)
        return self.backward(self.name("layer_norm"), y, (x, w), torch.randn_like(y))

    @staticmethod
    def swiglu(x):
        gate, up = x.chunk(2, -1)
        return F.silu(gate) * up

    def swiglu_forward(self, shape):
        rows, columns = self.numbers(shape)
        x, f = self.tensor(rows, 2 * columns), self.compile(self.swiglu)
        return [(self.name("silu(gate) * up"), lambda: f(x))]

    def swiglu_backward(self, shape):
        rows, columns = self.numbers(shape)
        x = self.tensor(rows, 2 * columns, grad=True)
        y = self.compile(self.swiglu)(x)
        return self.backward(self.name("silu(gate) * up"), y, (x,), torch.randn_like(y))

    def rope(self, shape):
        tokens, heads, width = self.numbers(shape)
        x, angle = self.tensor(tokens, heads, width), self.tensor(tokens, 1, width // 2)
        cosine, sine = angle.cos(), angle.sin()

        def turn(x):
            even, odd = x[..., 0::2], x[..., 1::2]
            return torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), -1).flatten(-2)

        f = self.compile(turn)
        return [(self.name("rotation of pairs"), lambda: f(x))]

    def cross_entropy(self, shape, backward):
        rows, columns = self.numbers(shape)
        x = self.tensor(rows, columns, dtype=torch.float32, grad=backward)
        target = torch.randint(columns, (rows,), device=self.device)
        f = self.compile(lambda x: F.cross_entropy(x, target, reduction="none"))
        if not backward:
            return [(self.name("cross_entropy"), lambda: f(x))]
        y = f(x)
        return self.backward(self.name("cross_entropy"), y, (x,), torch.randn_like(y))

    def cross_entropy_forward(self, shape):
        return self.cross_entropy(shape, False)

    def cross_entropy_backward(self, shape):
        return self.cross_entropy(shape, True)

    def gather(self, shape):
        rows, columns, *terms = self.numbers(shape)
        if terms:
            return []
        x, index = self.tensor(rows, columns), torch.randint(rows, (rows,), device=self.device)
        return [("index_select", lambda: x.index_select(0, index))]

    def scatter(self, shape):
        rows, columns, targets = self.numbers(shape)
        dy, index = self.tensor(rows, columns, dtype=torch.float32), torch.randint(targets, (rows,), device=self.device)
        return [("embedding backward", lambda: torch.ops.aten.embedding_dense_backward(dy, index, targets, -1, False))]

    def cast(self, shape):
        x = self.tensor(*self.numbers(shape), dtype=torch.float32)
        return [("to(bfloat16)", lambda: x.to(torch.bfloat16))]

    def copy(self, shape):
        x = self.tensor(*self.numbers(shape), dtype=torch.float32)
        return [("clone", x.clone)]

    def fill(self, shape):
        x = self.tensor(*self.numbers(shape), dtype=torch.float32)
        return [("zero_", x.zero_)]

    def parts(self, shape):
        n, parts = self.numbers(shape)
        return [self.tensor(max(1, n // parts), dtype=torch.float32) for _ in range(parts)]

    def sum_squares(self, shape):
        parts = self.parts(shape)
        return [("_foreach_norm", lambda: torch._foreach_norm(parts))]

    def adamw(self, shape):
        parts = self.parts(shape)
        for p in parts:
            p.requires_grad_(True).grad = torch.randn_like(p)
        return [("AdamW(fused)", torch.optim.AdamW(parts, lr=1e-4, weight_decay=0.1, fused=True).step)]


def median_seconds(call, wait, repeat):
    times = []
    for i in range(repeat + 3):
        wait()
        start = time.perf_counter()
        call()
        wait()
        if i >= 3:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main():
    a = arguments()
    with open(a.step) as f:
        step = json.load(f)
    torch._functorch.config.donated_buffer = False  # a backward is called many times
    device = torch.device(a.device)
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    peers = Peers(device, not a.no_compile, a.context or step.get("context", 2048))
    time_of = functools.partial(median_seconds, wait=wait, repeat=a.repeat)

    limit = None
    if device.type == "cuda":  # the rate that a matrix product of ours is held against
        x, y = (peers.tensor(8192, 8192) for _ in range(2))
        limit = 2 * 8192**3 / time_of(lambda: torch.mm(x, y))
        del x, y

    rows = []
    for launch in step["launches"]:
        best = (None, None)
        failed = None
        if make := getattr(peers, launch["kernel"], None):
            try:
                for name, call in make(launch["shape"]):
                    seconds = time_of(call)
                    if best[1] is None or seconds < best[1]:
                        best = (name, seconds)
            except (RuntimeError, torch.OutOfMemoryError) as e:
                failed = str(e).splitlines()[0]
            if device.type == "cuda":
                torch.cuda.empty_cache()
        n = launch["count"]
        row = {"kernel": launch["kernel"], "shape": launch["shape"], "count": n, "floor_seconds": launch["floor_seconds"] / (n if "seconds" in launch else 1), "seconds": launch["seconds"] / n if "seconds" in launch else None, "peer": best[0], "peer_seconds": best[1]}
        if failed:
            row["failed"] = failed
        rows.append(row)

    def us(seconds):
        return f"{seconds * 1e6:.1f}" if seconds is not None else ""

    print(f"{'kernel':22} {'shape':52} {'times':>5} {'floor us':>9} {'ours us':>9} {'PyTorch us':>10} {'ratio':>6}  call", file=sys.stderr)
    for r in rows:
        ratio = f"{r['peer_seconds'] / r['seconds']:.2f}" if r["seconds"] and r["peer_seconds"] else ""
        print(f"{r['kernel']:22} {r['shape']:52} {r['count']:>5} {us(r['floor_seconds']):>9} {us(r['seconds']):>9} {us(r['peer_seconds']):>10} {ratio:>6}  {r.get('failed') or r['peer'] or ''}", file=sys.stderr)
    print(json.dumps({"peer": "PyTorch " + torch.__version__, "compile": not a.no_compile, "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", "mm_8192_flops_per_second": limit, "kernels": rows}))


if __name__ == "__main__":
    main()
