"""Trains the shop desk's model: python train.py --out DIR [--steps N] [--qat-steps N] [--seed N]. See README.md."""
import argparse
import math
import pathlib
import random
import time

import torch
import torch.nn.functional as F

import corpus
import tokenizer as tokenizers
from model import Config, Model, q4_0

ROW, ROWS = 128, 32                            # ordinary batches: rows of packed, mutually hidden documents
LONG_SHAPES = {8: (512, 8), 16: (2048, 2)}     # every 8th / 16th step: (length, rows) of single long conversations
MATRIX_RATE, OTHER_RATE, QAT_SHARE = 0.015, 0.004, 0.25


class Packer:
    """Fills rows with whole documents; what does not fit opens the next row."""

    def __init__(self, rng, tokenizer, drills):
        self.rng, self.tokenizer, self.drills, self.waiting = rng, tokenizer, drills, None

    def batch(self):
        ids = torch.zeros(ROWS, ROW + 1, dtype=torch.long)
        weight = torch.zeros(ROWS, ROW + 1)
        segment = torch.full((ROWS, ROW + 1), -1)
        for row in range(ROWS):
            at = part = 0
            while at < ROW + 1:
                doc = self.waiting or corpus.document(self.rng, self.tokenizer, self.drills)
                self.waiting = None
                room = ROW + 1 - at
                if len(doc.ids) > room and at > 0 and room < 24:
                    self.waiting = doc
                    break
                size = min(room, len(doc.ids))
                ids[row, at:at + size] = torch.tensor(doc.ids[:size])
                weight[row, at:at + size] = torch.tensor(doc.weights[:size])
                weight[row, at] = 0
                segment[row, at:at + size] = part
                at, part = at + size, part + 1
        # Padding sees only itself, so that no row of the attention is empty.
        s = segment[:, :ROW]
        mask = (s[:, :, None] == s[:, None, :]) & torch.ones(ROW, ROW, dtype=torch.bool).tril()
        return ids, weight, mask[:, None]


def long_batch(rng, tokenizer, length, rows):
    docs = [corpus.long_conversation(rng, tokenizer, length + 1) for _ in range(rows)]
    return torch.tensor([d.ids[:length + 1] for d in docs]), torch.tensor([d.weights[:length + 1] for d in docs]), None


def weighted_loss(model, ids, weight, mask):
    target, w = ids[:, 1:].reshape(-1), weight[:, 1:].reshape(-1)
    rows = (w > 0).nonzero().squeeze(1)
    logits = model(ids[:, :-1], mask, rows=rows)
    return (F.cross_entropy(logits, target[rows], reduction="none") * w[rows]).sum() / w.sum()


class Optimizer:
    """Muon (momentum made orthogonal) for the matrices, Adam for embedding and norms. Equal shapes are handled together."""

    def __init__(self, model):
        self.groups = {}
        for name, p in model.weights.items():
            if p.dim() == 2 and name != "token_embd":
                self.groups.setdefault(tuple(p.shape), []).append(p)
        self.momentum = {shape: torch.zeros(len(ps), *shape) for shape, ps in self.groups.items()}
        self.adam = torch.optim.Adam([p for n, p in model.weights.items() if p.dim() == 1 or n == "token_embd"], betas=(0.9, 0.98))

    @torch.no_grad()
    def step(self, scale):
        for group in self.adam.param_groups:
            group["lr"] = OTHER_RATE * scale
        self.adam.step()
        for shape, params in self.groups.items():
            gradient = torch.stack([p.grad for p in params])
            m = self.momentum[shape].mul_(0.95).add_(gradient, alpha=0.05)
            u = gradient.mul(0.05).add(m, alpha=0.95)
            tall = shape[0] > shape[1]
            u = u.transpose(1, 2) if tall else u
            u = u / (u.norm(dim=(1, 2), keepdim=True) + 1e-12)
            for _ in range(5):  # Newton-Schulz iteration towards the nearest orthogonal matrix
                g = u @ u.transpose(1, 2)
                u = 3.4445 * u + (-4.7750 * g + 2.0315 * g @ g) @ u
            u = u.transpose(1, 2) if tall else u
            rate = MATRIX_RATE * scale * max(1, shape[0] / shape[1]) ** 0.5
            for p, update in zip(params, u):
                p.mul_(1 - rate * 0.05).sub_(update, alpha=rate)
                p.grad = None
        self.adam.zero_grad(set_to_none=True)


def run(model, tokenizer, seed, steps, peak, label):
    rng = random.Random(seed)
    packer, optimizer = Packer(rng, tokenizer, 0.3), Optimizer(model)
    tokens, average, began = 0, None, time.time()
    for step in range(1, steps + 1):
        progress = step / steps
        packer.drills = 0.3 if progress < 0.5 else 0.12
        shape = LONG_SHAPES.get(16 if step % 16 == 0 else 8 if step % 8 == 0 else 0)
        ids, weight, mask = packer.batch() if shape is None else long_batch(rng, tokenizer, *shape)
        loss = weighted_loss(model, ids, weight, mask)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(peak * min(1, step / 60) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))))
        tokens += ids.shape[0] * (ids.shape[1] - 1)
        value = float(loss.detach())
        average = value if average is None else 0.95 * average + 0.05 * value
        if step % 20 == 0 or step == steps:
            print(f"{label} step {step}/{steps} loss {average:.4f} tokens {tokens} seconds {time.time() - began:.0f}", flush=True)
        if step % 250 == 0 or step == steps:
            rows = [r for r in corpus.evaluation(seed=99) if r["kind"] == "sum"][:60]
            right = sum(r["contains"][0] + "." in answer(model, tokenizer, r["prompt"]) for r in rows)
            print(f"{label} step {step} held-out sums {right}/{len(rows)} | {answer(model, tokenizer, 'How do I return my shoes?')}", flush=True)
    return tokens


def chat(tokenizer, prompt):
    user, assistant = tokenizers.MARKERS["user"], tokenizers.MARKERS["assistant"]
    return [tokenizers.BEGIN, user, *tokenizer.encode(prompt), tokenizers.END, assistant]


def answer(model, tokenizer, prompt):
    return tokenizer.decode(model.greedy(chat(tokenizer, prompt), 80, tokenizers.END)[0])


def save(path, model, tokenizer, facts):
    torch.save({"weights": {k: v.detach() for k, v in model.weights.items()}, "pieces": tokenizer.pieces, "facts": facts}, path)


def load(path):
    saved = torch.load(path)
    model = Model(Config(), 0)
    with torch.no_grad():
        for name, value in saved["weights"].items():
            model.weights[name].copy_(value)
    return model, tokenizers.Tokenizer([tuple(p) for p in saved["pieces"]]), saved["facts"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, default=2100)
    parser.add_argument("--qat-steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    config = Config()
    base = options.out / "base.pt"
    if options.steps > 0:
        tokenizer = tokenizers.train(corpus.tokenizer_texts(options.seed, 12000), config.vocabulary)
        model = Model(config, options.seed)
        print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
        began = time.time()
        tokens = run(model, tokenizer, options.seed, options.steps, 1.0, "base")
        save(base, model, tokenizer, {"seed": options.seed, "steps": options.steps, "tokens": tokens, "seconds": round(time.time() - began)})
    if options.qat_steps > 0:
        model, tokenizer, facts = load(base)
        model.quantizer = q4_0
        began = time.time()
        tokens = run(model, tokenizer, options.seed + 1, options.qat_steps, QAT_SHARE, "qat")
        save(options.out / "qat.pt", model, tokenizer, {**facts, "qatSteps": options.qat_steps, "qatTokens": tokens, "qatSeconds": round(time.time() - began)})


if __name__ == "__main__":
    main()
