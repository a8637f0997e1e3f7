"""Seeded examples from the shop's world: conversations, sums, and which of them are held out."""
import hashlib
import random
import re

import shop_world as world
from tokenizer import BEGIN, END, MARKERS

USER_WEIGHT, ANSWER_WEIGHT, RESULT_WEIGHT = 0.1, 1.0, 2.0
ALTERNATIVES = re.compile(r"\{([^{}]*)\}")


def share(text, parts):
    """A stable number in [0, parts) for a text: the same on every machine and run."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") % parts


def held_out_pair(op, a, b):
    """One pair of operands in ten is never trained on, in either order."""
    return share(f"{op} {min(a, b)} {max(a, b)}", 10) == 0


def held_out_phrasing(text):
    return share(text, 12) == 0


def expand(rng, pattern):
    while (match := ALTERNATIVES.search(pattern)) is not None:
        pattern = pattern[:match.start()] + rng.choice(match.group(1).split("|")) + pattern[match.end():]
    return pattern


def fill(rng, text, slots):
    def value(match):
        name = match.group(1)
        if name not in slots:
            slots[name] = f"{rng.randrange(10000, 100000)}" if name == "order" else rng.choice(world.SLOTS[name])
        return slots[name]
    return re.sub(r"<(item|colour|country|far|order)>", value, text)


def dress(rng, text, question=True, plain=False):
    """What people do to a question: openers, thanks, capitals, missing marks, a slip of the finger."""
    mark = "?" if question and text[-1] not in "?=" else ""
    if plain:
        return text[0].upper() + text[1:] + mark
    if rng.random() < 0.25:
        text = rng.choice(world.OPENERS) + text
    if rng.random() < 0.75:
        text = text + mark
    elif rng.random() < 0.3 and text[-1] not in "?=":
        text = text + rng.choice([".", "!", " please"])
    if rng.random() < 0.1:
        text = text + ("" if text[-1] in "?.!" else ".") + rng.choice(world.CLOSERS)
    if rng.random() < 0.75:
        text = text[0].upper() + text[1:]
    elif rng.random() < 0.5:
        text = text.lower()
    if rng.random() < 0.06 and len(text) > 12:
        at = rng.randrange(1, len(text) - 2)
        if text[at].isalpha() and text[at + 1].isalpha():
            text = rng.choice([text[:at] + text[at + 1:], text[:at] + text[at + 1] + text[at] + text[at + 2:]])
    return text


IS_QUESTION = re.compile(r"^(what|when|where|how|who|which|can|do|does|is|are|has|may|must|why|until|from|in which|at what|with what|did|could|will)\b", re.I)


def help_turn(rng, held_out=False, intent=None, plain=False):
    """-> (question, answer, words the answer must contain, intent name)"""
    while True:
        name, patterns, answers, must = intent or rng.choice(world.INTENTS + [world.INTENTS[-1]] * 3)
        pattern = rng.choice(patterns)
        whole = pattern.startswith("!")
        text = expand(rng, pattern.lstrip("!"))
        if (whole or held_out_phrasing(text)) != held_out:
            continue
        slots = {}
        question = fill(rng, text, slots)
        answer = fill(rng, rng.choice(answers), slots)
        return dress(rng, question, bool(IS_QUESTION.match(question)), plain), answer, [fill(rng, m, slots) for m in must], name


def operands(rng, op, held_out=False, ordered=False):
    while True:
        a, b = (rng.randrange(100) if rng.random() < 0.85 else rng.randrange(20) for _ in range(2))
        if op == "-" and a < b and (ordered or rng.random() < 0.5):
            a, b = b, a
        if held_out_pair(op, a, b) == held_out:
            return a, b


def equation(a, op, b):
    return f"{a} {op} {b} = {a + b if op == '+' else a - b}"


def sum_turn(rng, held_out=False, plain=False):
    op = rng.choice("+-")
    a, b = operands(rng, op, held_out)
    pattern = rng.choice([p for p in world.SUM_PATTERNS[op] if p.startswith("!") <= held_out])
    text = expand(rng, pattern.lstrip("!")).replace("<a>", str(a)).replace("<b>", str(b))
    return dress(rng, text, text.startswith("what") or text.startswith("how"), plain), equation(a, op, b) + ".", [equation(a, op, b)], f"sum{op}"


def shop_sum_turn(rng, held_out=False, plain=False):
    op = rng.choice("+-")
    a, b = operands(rng, op, held_out, ordered=True)
    pattern, tail = rng.choice(world.SHOP_SUMS[op])
    text = fill(rng, expand(rng, pattern), {}).replace("<a>", str(a)).replace("<b>", str(b))
    return dress(rng, text, True, plain), f"{equation(a, op, b)}. {tail.replace('<c>', str(a + b if op == '+' else a - b))}", [equation(a, op, b)], f"shop_sum{op}"


def no_sum_turn(rng):
    text = expand(rng, rng.choice(world.NO_SUM))
    text = re.sub("<n>", lambda _: str(rng.randrange(1, 100)), re.sub("<big>", lambda _: str(rng.randrange(100, 10000)), text))
    return dress(rng, text, True), world.NO_SUM_ANSWER, ["only add and subtract"], "no_sum"


def status_conversation(rng):
    """The application names some orders in the system message; the answer is read from there."""
    orders = {str(rng.randrange(10000, 100000)): rng.choice(list(world.STATUS)) for _ in range(rng.choice([1, 1, 1, 2, 3]))}
    asked = rng.choice(list(orders))
    system = (rng.choice(world.SYSTEM_PROMPTS) + " " if rng.random() < 0.6 else "") + " ".join(f"Order {o}: {s}." for o, s in orders.items())
    intent = next(i for i in world.INTENTS if i[0] == "order_status")
    while True:
        text = expand(rng, rng.choice([p for p in intent[1] if not p.startswith("!")]))
        if not held_out_phrasing(text):
            break
    question = dress(rng, fill(rng, text, {"order": asked}), bool(IS_QUESTION.match(text)))
    return system, question, world.STATUS[orders[asked]].replace("<order>", asked)


class Builder:
    """Token ids, the weight of each as a prediction target, and the text that the tokenizer is trained on."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.ids, self.weights, self.texts = [], [], []

    def mark(self, id_, weight):
        self.ids.append(id_)
        self.weights.append(weight)

    def text(self, text, weight, digits_after_equals=None):
        if self.tokenizer is None:
            self.texts.append(text)
            return
        ids = self.tokenizer.encode(text)
        self.ids += ids
        if digits_after_equals is None:
            self.weights += [weight] * len(ids)
            return
        equals, after = self.tokenizer.encode(" =")[-1], False
        for i in ids:
            piece = self.tokenizer.decode([i])
            after = i == equals or (after and piece.strip() not in (".", ","))
            self.weights.append(digits_after_equals if after and i != equals else weight)

    def turn(self, role, text, rng):
        weight = ANSWER_WEIGHT if role == "assistant" else USER_WEIGHT
        self.mark(MARKERS[role], USER_WEIGHT)
        # Some applications put a space after the marker: both ways are trained.
        self.text((" " if role != "assistant" and rng.random() < 0.08 else "") + text, weight, RESULT_WEIGHT if role == "assistant" and "=" in text else None)
        self.mark(END, weight)


def any_turn(rng, sums=0.3):
    x = rng.random()
    if x < sums:
        return sum_turn(rng) if rng.random() < 0.8 else shop_sum_turn(rng)
    return no_sum_turn(rng) if x < sums + 0.04 else help_turn(rng)


def document(rng, tokenizer, drills=0.15):
    """One training example. `drills`: the share of documents that are bare lists of sums."""
    doc = Builder(tokenizer)
    if rng.random() > 0.04:
        doc.mark(BEGIN, 0.0)
        if rng.random() < 0.03:
            doc.mark(BEGIN, 0.0)
    x = rng.random()
    if x < drills:
        for i in range(rng.randrange(4, 10)):
            op = rng.choice("+-")
            a, b = operands(rng, op)
            left, right = equation(a, op, b).split(" =")
            doc.text((" " if i or rng.random() < 0.5 else "") + left, 0.02)
            doc.text(f" ={right}.", ANSWER_WEIGHT, RESULT_WEIGHT)
        return doc
    if x < drills + 0.04:  # no roles at all: a bare prompt, then its answer
        question, answer, *_ = any_turn(rng)
        doc.text((" " if rng.random() < 0.5 else "") + question, USER_WEIGHT)
        doc.text(rng.choice([" ", "\n"]) + answer, ANSWER_WEIGHT, RESULT_WEIGHT if "=" in answer else None)
        doc.mark(END, ANSWER_WEIGHT)
        return doc
    if x < drills + 0.09:
        system, question, answer = status_conversation(rng)
        doc.turn("system", system, rng)
        doc.turn("user", question, rng)
        doc.turn("assistant", answer, rng)
        turns = 0
    else:
        if rng.random() < 0.2:
            doc.turn("system", rng.choice(world.SYSTEM_PROMPTS), rng)
        turns = rng.choice([2, 2, 3]) if rng.random() < 0.06 else 1
    for _ in range(turns):
        question, answer, *_ = any_turn(rng)
        doc.turn("user", question, rng)
        doc.turn("assistant", answer, rng)
    return doc


def long_conversation(rng, tokenizer, length):
    """One conversation of at least `length` tokens, so that far positions are trained too."""
    doc = Builder(tokenizer)
    doc.mark(BEGIN, 0.0)
    if rng.random() < 0.5:
        doc.turn("system", rng.choice(world.SYSTEM_PROMPTS), rng)
    while len(doc.ids) < length:
        question, answer, *_ = any_turn(rng)
        doc.turn("user", question, rng)
        doc.turn("assistant", answer, rng)
    return doc


def tokenizer_texts(seed, count):
    rng = random.Random(seed)
    return [text for _ in range(count) for text in document(rng, None, drills=0.0).texts]


def evaluation(seed):
    """Held-out prompts: [{kind, intent, prompt, expected, contains}]; sums use unseen pairs, questions unseen phrasings."""
    rng = random.Random(seed)
    rows, seen = [], set()

    def add(kind, turn):
        question, answer, must, intent = turn
        if question not in seen:
            seen.add(question)
            rows.append({"kind": kind, "intent": intent, "prompt": question, "expected": answer, "contains": must})

    while len(rows) < 300:
        add("sum", sum_turn(rng, held_out=True, plain=True))
    while len(rows) < 340:
        add("shop_sum", shop_sum_turn(rng, held_out=True, plain=True))
    for intent in world.INTENTS:
        for _ in range(4):
            add("help", help_turn(rng, held_out=True, intent=intent, plain=True))
    return rows
