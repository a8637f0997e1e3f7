"""The Llama forward pass as GGUF's `llama` architecture defines it, small enough to train on one core."""
import dataclasses
import math

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclasses.dataclass(frozen=True)
class Config:
    vocabulary: int = 1024
    width: int = 128
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    hidden: int = 256
    context: int = 2048
    rope_base: float = 10000.0
    epsilon: float = 1e-5

    @property
    def head_width(self):
        return self.width // self.heads


def q4_0(weight):
    """`weight` as Q4_0 stores it: per 32 along a row, 16 levels of a float16 step; the largest magnitude is level 0."""
    blocks = weight.reshape(-1, 32)
    extreme = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    step = (extreme / -8).to(torch.float16).to(torch.float32)
    inverse = torch.where(step == 0, torch.zeros_like(step), 1 / step)
    return ((torch.floor(blocks * inverse + 8.5).clamp(0, 15) - 8) * step).reshape(weight.shape)


def q8_0(weight):
    blocks = weight.reshape(-1, 32)
    exact = blocks.abs().amax(1, keepdim=True) / 127
    inverse = torch.where(exact == 0, torch.zeros_like(exact), 1 / exact)
    return (torch.round(blocks * inverse) * exact.to(torch.float16).to(torch.float32)).reshape(weight.shape)


class Model(nn.Module):
    def __init__(self, config, seed):
        super().__init__()
        self.config = config
        generator = torch.Generator().manual_seed(seed)

        def matrix(rows, columns, scale):
            return nn.Parameter(torch.randn(rows, columns, generator=generator) * scale)

        c, kv = config, config.kv_heads * config.head_width
        into, back = 1 / math.sqrt(c.width), 1 / math.sqrt(2 * c.layers)
        self.weights = nn.ParameterDict()
        self.weights["token_embd"] = matrix(c.vocabulary, c.width, 0.05)
        for i in range(c.layers):
            self.weights[f"blk_{i}_attn_norm"] = nn.Parameter(torch.ones(c.width))
            self.weights[f"blk_{i}_attn_q"] = matrix(c.width, c.width, into)
            self.weights[f"blk_{i}_attn_k"] = matrix(kv, c.width, into)
            self.weights[f"blk_{i}_attn_v"] = matrix(kv, c.width, into)
            self.weights[f"blk_{i}_attn_output"] = matrix(c.width, c.width, into * back)
            self.weights[f"blk_{i}_ffn_norm"] = nn.Parameter(torch.ones(c.width))
            self.weights[f"blk_{i}_ffn_gate"] = matrix(c.hidden, c.width, into)
            self.weights[f"blk_{i}_ffn_up"] = matrix(c.hidden, c.width, into)
            self.weights[f"blk_{i}_ffn_down"] = matrix(c.width, c.hidden, back / math.sqrt(c.hidden))
        self.weights["output_norm"] = nn.Parameter(torch.ones(c.width))
        self.quantizer = None  # set to q4_0 to train through it
        frequency = config.rope_base ** (-torch.arange(0, c.head_width, 2, dtype=torch.float64) / c.head_width)
        angle = torch.arange(c.context, dtype=torch.float64)[:, None] * frequency
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def weight(self, name):
        weight = self.weights[name]
        if self.quantizer is None or weight.dim() == 1:
            return weight
        # Straight through: the forward pass sees the quantized weight, the gradient goes to the exact one.
        return weight + (self.quantizer(weight.detach()) - weight.detach())

    def rope(self, x, start):
        # Neighbouring values are a pair (llama.cpp's NORM order).
        length = x.shape[-2]
        cos, sin = self.cos[start:start + length], self.sin[start:start + length]
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)

    def forward(self, ids, mask=None, cache=None, rows=None):
        """ids [batch, length]; mask [batch, 1, length, length] or None for causal; cache: a list filled with (k, v) per layer;
        rows: which of the flattened positions get logits (None: all)."""
        c = self.config
        batch, length = ids.shape
        start = 0 if not cache else cache[0][0].shape[2]
        embedding = self.weight("token_embd")
        x = F.embedding(ids, embedding)
        for i in range(c.layers):
            name = f"blk_{i}_"
            h = F.rms_norm(x, (c.width,), self.weights[name + "attn_norm"], c.epsilon)
            q, k, v = (F.linear(h, self.weight(name + "attn_" + part)).view(batch, length, -1, c.head_width).transpose(1, 2) for part in "qkv")
            q, k = self.rope(q, start), self.rope(k, start)
            if cache is not None:
                if len(cache) > i:
                    k, v = torch.cat((cache[i][0], k), 2), torch.cat((cache[i][1], v), 2)
                    cache[i] = (k, v)
                else:
                    cache.append((k, v))
            group = c.heads // c.kv_heads
            a = F.scaled_dot_product_attention(q, k.repeat_interleave(group, 1), v.repeat_interleave(group, 1), attn_mask=mask, is_causal=mask is None and length > 1)
            x = x + F.linear(a.transpose(1, 2).reshape(batch, length, c.width), self.weight(name + "attn_output"))
            h = F.rms_norm(x, (c.width,), self.weights[name + "ffn_norm"], c.epsilon)
            h = F.silu(F.linear(h, self.weight(name + "ffn_gate"))) * F.linear(h, self.weight(name + "ffn_up"))
            x = x + F.linear(h, self.weight(name + "ffn_down"))
        x = F.rms_norm(x, (c.width,), self.weights["output_norm"], c.epsilon).view(-1, c.width)
        return F.linear(x if rows is None else x[rows], embedding)

    @torch.no_grad()
    def greedy(self, prompt, limit, end):
        """-> (ids without the end marker, smallest distance between the two best log-probabilities)"""
        cache, ids, margin = [], [], math.inf
        logits = self.forward(torch.tensor([prompt]), cache=cache)[-1]
        while True:
            best = logits.topk(2)
            margin = min(margin, float(best.values[0] - best.values[1]))
            chosen = int(best.indices[0])
            if chosen == end:
                return ids, margin
            ids.append(chosen)
            if len(ids) == limit:
                return ids, margin
            logits = self.forward(torch.tensor([[chosen]]), cache=cache)[-1]
