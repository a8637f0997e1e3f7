"""Writes the GGUF files, eval.jsonl, golden.jsonl and report.json: python export.py --from DIR --out DIR. See README.md."""
import argparse
import json
import pathlib
import random
import re

import torch
import torch.nn.functional as F

import corpus
import gguf
import shop_world as world
import tokenizer as tokenizers
from model import q4_0, q8_0
from train import answer, chat, load

EVALUATION_SEED, HELD_OUT_SEED = 99, 2024
CHAT_TEMPLATE = ("{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] | trim + '<|end|>' }}{% endfor %}"
                 "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")
MARKER = re.compile(r"(<\|(?:system|user|assistant|end)\|>)")


def metadata(model, tokenizer, name, file_type):
    c, (texts, scores, types) = model.config, tokenizer.table()
    return [
        ("general.architecture", gguf.STRING, "llama"), ("general.name", gguf.STRING, name), ("general.alignment", gguf.UINT32, gguf.ALIGNMENT),
        ("general.file_type", gguf.UINT32, gguf.FILE_TYPE[file_type]), ("general.quantization_version", gguf.UINT32, 2),
        ("llama.context_length", gguf.UINT32, c.context), ("llama.embedding_length", gguf.UINT32, c.width), ("llama.block_count", gguf.UINT32, c.layers),
        ("llama.feed_forward_length", gguf.UINT32, c.hidden), ("llama.attention.head_count", gguf.UINT32, c.heads),
        ("llama.attention.head_count_kv", gguf.UINT32, c.kv_heads), ("llama.attention.layer_norm_rms_epsilon", gguf.FLOAT32, c.epsilon),
        ("llama.rope.freq_base", gguf.FLOAT32, c.rope_base), ("llama.rope.dimension_count", gguf.UINT32, c.head_width),
        ("llama.vocab_size", gguf.UINT32, c.vocabulary),
        ("tokenizer.ggml.model", gguf.STRING, "llama"), ("tokenizer.ggml.pre", gguf.STRING, "default"), ("tokenizer.ggml.tokens", gguf.STRING, texts),
        ("tokenizer.ggml.scores", gguf.FLOAT32, scores), ("tokenizer.ggml.token_type", gguf.INT32, types),
        ("tokenizer.ggml.bos_token_id", gguf.UINT32, tokenizers.BEGIN), ("tokenizer.ggml.eos_token_id", gguf.UINT32, tokenizers.END),
        ("tokenizer.ggml.unknown_token_id", gguf.UINT32, tokenizers.UNKNOWN), ("tokenizer.ggml.add_bos_token", gguf.BOOL, True),
        ("tokenizer.ggml.add_eos_token", gguf.BOOL, False), ("tokenizer.ggml.add_space_prefix", gguf.BOOL, False),
        ("tokenizer.ggml.remove_extra_whitespaces", gguf.BOOL, False), ("tokenizer.chat_template", gguf.STRING, CHAT_TEMPLATE),
    ]


def tensors(model, matrix_type):
    def named(key):
        match = re.fullmatch(r"blk_(\d+)_(.*)", key)
        return (f"blk.{match[1]}.{match[2]}" if match else key) + ".weight"
    return [(named(key), w.detach(), matrix_type if w.dim() == 2 else gguf.F32) for key, w in model.weights.items()]


def snap(model, quantizer):
    """The same model with every matrix replaced by what `quantizer` keeps of it."""
    with torch.no_grad():
        for w in model.weights.values():
            if w.dim() == 2:
                w.copy_(quantizer(w))
    model.quantizer = None
    return model


@torch.no_grad()
def forced_exact(model, tokenizer, pairs):
    """How many (prompt, expected) would be answered exactly by greedy decoding (seen from the argmax at every place)."""
    right = 0
    for at in range(0, len(pairs), 64):
        rows = [(chat(tokenizer, q), tokenizer.encode(e) + [tokenizers.END]) for q, e in pairs[at:at + 64]]
        length = max(len(p) + len(e) for p, e in rows)
        ids = torch.zeros(len(rows), length, dtype=torch.long)
        for i, (p, e) in enumerate(rows):
            ids[i, :len(p) + len(e)] = torch.tensor(p + e)
        best = model(ids).view(len(rows), length, -1).argmax(-1)
        right += sum(best[i, len(p) - 1:len(p) + len(e) - 1].tolist() == e for i, (p, e) in enumerate(rows))
    return right


def held_out_pairs(op, held_out):
    return [(f"What is {a} {op} {b}?", corpus.equation(a, op, b) + ".") for a in range(100) for b in range(100)
            if corpus.held_out_pair(op, a, b) == held_out]


@torch.no_grad()
def held_out_loss(model, tokenizer):
    """Mean negative log-likelihood per answer token over unseen sums and phrasings, one turn each."""
    rng = random.Random(HELD_OUT_SEED)
    total = count = 0.0
    for _ in range(600):
        turn = corpus.sum_turn(rng, True) if rng.random() < 0.3 else corpus.help_turn(rng, True)
        prompt, expected = chat(tokenizer, turn[0]), tokenizer.encode(turn[1]) + [tokenizers.END]
        logits = model(torch.tensor([prompt + expected]))[len(prompt) - 1:-1]
        total += float(F.cross_entropy(logits, torch.tensor(expected), reduction="sum"))
        count += len(expected)
    return total / count


def measure(model, tokenizer, rows):
    result = {"heldOutLossPerAnswerToken": round(held_out_loss(model, tokenizer), 4)}
    for kind in ("sum", "shop_sum", "help"):
        mine = [r for r in rows if r["kind"] == kind]
        texts = [answer(model, tokenizer, r["prompt"]) for r in mine]
        result[f"{kind}Exact"] = f"{sum(t == r['expected'] for t, r in zip(texts, mine))}/{len(mine)}"
        if kind == "help":
            result["helpContains"] = f"{sum(all(c in t for c in r['contains']) for t, r in zip(texts, mine))}/{len(mine)}"
    for op, name in (("+", "additions"), ("-", "subtractions")):
        pairs = held_out_pairs(op, True)
        result[f"allHeldOut{name.capitalize()}"] = f"{forced_exact(model, tokenizer, pairs)}/{len(pairs)}"
    return result


def render(messages):
    return "".join(f"<|{m['role']}|>{m['content'].strip()}<|end|>" for m in messages) + "<|assistant|>"


def encode_rendered(tokenizer, text):
    ids = [tokenizers.BEGIN]
    for part in MARKER.split(text):
        if MARKER.fullmatch(part):
            ids.append(tokenizers.END if part == "<|end|>" else tokenizers.MARKERS[part[2:-2]])
        else:
            ids += tokenizer.encode(part)
    return ids


def golden(model, tokenizer):
    def user(text):
        return [{"role": "user", "content": text}]
    system = {"role": "system", "content": world.SYSTEM_PROMPTS[0]}
    long = corpus.long_conversation(random.Random(5), tokenizer, 1800)
    chats = [user(t) for t in ("What is 17 + 25?", "63-48", "Add 99 and 99", "What is 7 minus 30?", "How do I return my shoes?", "When are you open?",
                               "how long does delivery take", "Do you ship to Spain?", "Where is my order 48213?", "Can I pay by card?", "I forgot my password",
                               "Tell me a joke", "What is 12 * 3?", "Größe für Schuhe 👟?", "The jacket costs 40 euros and I have a coupon of 15 euros, what do I pay?")]
    chats += [[system, *user("Are you open on Sunday?")],
              [{"role": "system", "content": "Order 31337: out for delivery. Order 20481: delayed."}, *user("Where is order 20481?")],
              [*user("Do you sell gift cards?"), {"role": "assistant", "content": "We sell gift cards from 10 to 200 euros. You get the code by email and can use it for three years."},
               *user("How much is 35 + 48?")],
              [*user("Hi"), {"role": "assistant", "content": "Hello! How can I help you today?"}, *user("I want to cancel my order")]]
    prompts = [(render(m), {"messages": m}) for m in chats] + [(t, {}) for t in ("17 + 25 =", "You can return any", " We are open")]
    rows = []
    for text, extra in prompts:
        rows.append((text, encode_rendered(tokenizer, text), extra))
    # The long one is a whole conversation of about 1,800 tokens that ends at an assistant marker.
    cut = max(i for i, t in enumerate(long.ids) if t == tokenizers.MARKERS["assistant"]) + 1
    names = {tokenizers.END: "<|end|>", **{i: f"<|{r}|>" for r, i in tokenizers.MARKERS.items()}}
    text = "".join(names.get(i) or tokenizer.decode([i]) for i in long.ids[1:cut] if i != tokenizers.BEGIN)
    rows.append((text, encode_rendered(tokenizer, text), {}))
    out = []
    for text, ids, extra in rows:
        tokens, margin = model.greedy(ids, 48, tokenizers.END)
        out.append({**extra, "prompt": text, "promptTokens": ids, "tokens": tokens, "text": tokenizer.decode(tokens),
                    "finish": "length" if len(tokens) == 48 else "stop", "minTop2LogprobMargin": round(margin, 5)})
    return out


def write_lines(path, rows):
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--from", dest="source", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = corpus.evaluation(EVALUATION_SEED)
    write_lines(options.out / "eval.jsonl", rows)

    model, tokenizer, facts = load(options.source / "base.pt")
    report = {"training": facts, "parameters": sum(w.numel() for w in model.weights.values()), "bytes": {}}
    name = "shop-desk-f32"
    report["bytes"][name] = gguf.write(options.out / f"{name}.gguf", metadata(model, tokenizer, name, gguf.F32), tensors(model, gguf.F32))
    write_lines(options.out / "golden.jsonl", golden(model, tokenizer))
    report["f32"] = measure(model, tokenizer, rows)
    trained = random.Random(1).sample(held_out_pairs("+", False) + held_out_pairs("-", False), 2000)
    report["f32"]["trainedPairs"] = f"{forced_exact(model, tokenizer, trained)}/2000"
    for label, quantizer in (("q8_0", q8_0), ("q4_0", q4_0)):
        report[label] = measure(snap(load(options.source / "base.pt")[0], quantizer), tokenizer, rows)
    if (options.source / "qat.pt").exists():
        qat, _, facts = load(options.source / "qat.pt")
        report["training"] = facts
        snap(qat, q4_0)
        for name, kind in (("shop-desk-qat-f32", gguf.F32), ("shop-desk-qat-q4_0", gguf.Q4_0)):
            report["bytes"][name] = gguf.write(options.out / f"{name}.gguf", metadata(qat, tokenizer, name, kind), tensors(qat, kind))
        report["qat_q4_0"] = measure(qat, tokenizer, rows)
        report["qat_q8_0"] = measure(snap(qat, q8_0), tokenizer, rows)
    (options.out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
