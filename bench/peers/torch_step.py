#!/usr/bin/env python3
"""A training step of the same model in PyTorch: what cuda_step is compared with.

    bench/peers/torch_step.py --config config.json [--compile] [--steps 10] [--micro-batch 8] [--context 2048] [--device cuda] [--dtype bf16]

The model of config.json (cohere, or bam with soft attention experts) written as PyTorch is used well: one projection for the queries, keys and values of all experts, one call of
scaled_dot_product_attention (flash attention on a GPU) over their heads, rows sorted by expert and torch._grouped_mm where there is one, autocast to bf16 over fp32 weights, fused AdamW,
gradients clipped by norm. Random tokens. Prints one JSON object.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--config", required=True)
    p.add_argument("--device", default="cuda")
    p.add_argument("--dtype", choices=["fp32", "bf16"], default="bf16")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--micro-batch", type=int, default=8)
    p.add_argument("--context", type=int, default=2048)
    p.add_argument("--steps", type=int, default=10)
    return p.parse_args()


class Shape:
    def __init__(self, c):
        self.vocabulary, self.hidden, self.ffn, self.layers = (c[k] for k in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"))
        self.heads, self.kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        self.head_dim = c.get("head_dim") or self.hidden // self.heads
        self.experts = c.get("num_experts", 1)
        self.chosen = c.get("num_experts_per_tok", 1)
        self.attention_experts = c.get("num_attention_experts", 1)
        self.share_kv = c.get("share_kv", False)
        self.tied = c.get("tie_word_embeddings", True)
        self.theta = c.get("rope_theta", 10000.0)
        self.balance, self.z = c.get("router_aux_loss_coef", 0.01), c.get("router_z_loss_coef", 0.001)


def turn(x, cosine, sine):  # (B, heads, T, D), pairs (2i, 2i + 1)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cosine - odd * sine, odd * cosine + even * sine), -1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.sets = 1 if s.share_kv else s.attention_experts
        self.qkv = nn.Linear(s.hidden, (s.attention_experts * s.heads + 2 * self.sets * s.kv_heads) * s.head_dim, bias=False)
        self.out = nn.Linear(s.attention_experts * s.heads * s.head_dim, s.hidden, bias=False)
        self.router = nn.Linear(s.hidden, s.attention_experts, bias=False) if s.attention_experts > 1 else None

    def forward(self, u, cosine, sine):
        s, (rows, tokens, _) = self.s, u.shape
        heads, kv = s.attention_experts * s.heads, self.sets * s.kv_heads
        q, k, v = self.qkv(u).view(rows, tokens, -1, s.head_dim).transpose(1, 2).split([heads, kv, kv], 1)
        q, k = turn(q, cosine, sine), turn(k, cosine, sine)
        if s.heads != s.kv_heads:
            k, v = (x.repeat_interleave(s.heads // s.kv_heads, 1) for x in (k, v))
        if s.share_kv and s.attention_experts > 1:
            k, v = (x.repeat(1, s.attention_experts, 1, 1) for x in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        if self.router is not None:
            gates = self.router(u).float().softmax(-1).to(y.dtype).permute(0, 2, 1)
            y = y.view(rows, s.attention_experts, s.heads, tokens, s.head_dim) * gates[:, :, None, :, None]
        return self.out(y.reshape(rows, heads, tokens, s.head_dim).transpose(1, 2).reshape(rows, tokens, -1))


class Ffn(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.up = nn.Parameter(torch.empty(s.experts, s.hidden, 2 * s.ffn))
        self.down = nn.Parameter(torch.empty(s.experts, s.ffn, s.hidden))
        self.router = nn.Linear(s.hidden, s.experts, bias=False) if s.experts > 1 else None

    def forward(self, u):
        s, x = self.s, u.reshape(-1, u.shape[-1])
        if torch.is_autocast_enabled(u.device.type):  # a norm's result is of fp32 under autocast, and what is no nn.Linear is not cast
            x = x.to(torch.bfloat16)
        up, down = self.up.to(x.dtype), self.down.to(x.dtype)
        if self.router is None:
            gate, value = (x @ up[0]).chunk(2, -1)
            return ((F.silu(gate) * value) @ down[0]).view_as(u), 0.0
        logits = self.router(x).float()
        probabilities = logits.softmax(-1)
        weight, expert = probabilities.topk(s.chosen, -1)
        order = expert.flatten().argsort(stable=True)
        counts = torch.bincount(expert.flatten(), minlength=s.experts)
        rows = order // s.chosen
        gathered = x[rows]
        if hasattr(torch, "_grouped_mm") and x.is_cuda and x.dtype == torch.bfloat16:
            ends = counts.cumsum(0).to(torch.int32)
            gate, value = torch._grouped_mm(gathered, up, ends).chunk(2, -1)
            y = torch._grouped_mm(F.silu(gate) * value, down, ends)
        else:
            parts = []
            for e, part in enumerate(gathered.split(counts.tolist())):
                gate, value = (part @ up[e]).chunk(2, -1)
                parts.append((F.silu(gate) * value) @ down[e])
            y = torch.cat(parts)
        y = torch.zeros_like(x).index_add(0, rows, (y * weight.flatten()[order, None]).to(x.dtype))
        share = counts / (x.shape[0] * s.chosen)
        return y.view_as(u), s.balance * s.experts * (share * probabilities.mean(0)).sum() + s.z * (logits.logsumexp(-1) ** 2).mean()


class Model(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.embedding = nn.Embedding(s.vocabulary, s.hidden)
        self.norms = nn.ParameterList(torch.ones(s.hidden) for _ in range(s.layers + 1))
        self.attention = nn.ModuleList(Attention(s) for _ in range(s.layers))
        self.ffn = nn.ModuleList(Ffn(s) for _ in range(s.layers))
        self.head = nn.Linear(s.hidden, s.vocabulary, bias=False)
        if s.tied:
            self.head.weight = self.embedding.weight
        for w in self.parameters():
            if w.dim() > 1:
                nn.init.normal_(w, std=0.02)

    def norm(self, x, i):
        return F.layer_norm(x, (self.s.hidden,), self.norms[i].to(x.dtype), None, 1e-5)

    def forward(self, ids, targets, cosine, sine):
        h, extra = self.embedding(ids), 0.0
        for i in range(self.s.layers):
            u = self.norm(h, i)
            y, loss = self.ffn[i](u)
            h = h + self.attention[i](u, cosine, sine) + y
            extra = extra + loss
        logits = self.head(self.norm(h, self.s.layers))
        return F.cross_entropy(logits.view(-1, self.s.vocabulary).float(), targets.view(-1)) + extra


def main():
    a = arguments()
    with open(a.config) as f:
        s = Shape(json.load(f))
    torch.manual_seed(0)
    device = torch.device(a.device)
    model = Model(s).to(device)
    angles = torch.arange(a.context, device=device)[:, None] * s.theta ** (-torch.arange(0, s.head_dim, 2, device=device) / s.head_dim)
    low = torch.bfloat16 if a.dtype == "bf16" else torch.float32
    cosine, sine = angles.cos().to(low), angles.sin().to(low)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, betas=(0.9, 0.95), fused=device.type == "cuda")
    run = torch.compile(model) if a.compile else model
    ids = torch.randint(s.vocabulary, (a.micro_batch, a.context), device=device)
    targets = torch.randint(s.vocabulary, (a.micro_batch, a.context), device=device)

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize()

    times = []
    for i in range(a.steps + 3):
        wait()
        start = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=a.dtype == "bf16"):
            loss = run(ids, targets, cosine, sine)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        wait()
        if i >= 3:
            times.append(time.perf_counter() - start)
    step = statistics.median(times)
    print(json.dumps({"peer": "PyTorch " + torch.__version__, "compile": a.compile, "dtype": a.dtype, "micro_batch": a.micro_batch, "context": a.context, "parameters": sum(w.numel() for w in model.parameters()),
                      "tokens_per_second": a.micro_batch * a.context / step, "step_seconds": step, "peak_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None, "loss": loss.item()}))


if __name__ == "__main__":
    main()
