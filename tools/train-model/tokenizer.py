"""A SentencePiece-style tokenizer with byte fallback: trained on our corpus, encoded as GGUF readers expect.

Ids: 0 unknown, 1 begin, 2 end of turn, 3..258 the bytes, 259.. the role markers, then the pieces by falling score.
A space is written as U+2581. No piece holds more than one digit or crosses a word's end, so numbers are digit by digit.
"""
import collections
import functools
import re

SPACE = "\u2581"
UNKNOWN, BEGIN, END, FIRST_BYTE = 0, 1, 2, 3
MARKERS = {"system": 259, "user": 260, "assistant": 261}
FIRST_PIECE = 262
TYPE_NORMAL, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_BYTE = 1, 2, 3, 6
WORD = re.compile(f"{SPACE}?[A-Za-z]+|[0-9]|{SPACE}?[^A-Za-z0-9{SPACE}]|{SPACE}")


def words(text):
    return WORD.findall(text.replace(" ", SPACE))


class Tokenizer:
    def __init__(self, pieces):
        """`pieces`: [(text, score)] in id order, from FIRST_PIECE."""
        self.pieces = pieces
        self.score = dict(pieces)
        self.id = {text: FIRST_PIECE + i for i, (text, _) in enumerate(pieces)}
        self.encode_word = functools.lru_cache(maxsize=200_000)(self._encode_word)

    def __len__(self):
        return FIRST_PIECE + len(self.pieces)

    def _encode_word(self, word):
        # The neighbours whose union has the best score are joined first, the leftmost of equals: SentencePiece's rule.
        parts = list(word)
        while len(parts) > 1:
            best, at = None, -1
            for i in range(len(parts) - 1):
                score = self.score.get(parts[i] + parts[i + 1])
                if score is not None and (best is None or score > best):
                    best, at = score, i
            if best is None:
                break
            parts[at:at + 2] = [parts[at] + parts[at + 1]]
        ids = []
        for part in parts:
            known = self.id.get(part)
            ids += [known] if known is not None else [FIRST_BYTE + b for b in part.encode()]
        return tuple(ids)

    def encode(self, text):
        """Plain text to ids; adds nothing in front and knows no markers."""
        return [i for word in words(text) for i in self.encode_word(word)]

    def decode(self, ids):
        out = b""
        for i in ids:
            if FIRST_BYTE <= i < FIRST_BYTE + 256:
                out += bytes([i - FIRST_BYTE])
            elif i >= FIRST_PIECE:
                out += self.pieces[i - FIRST_PIECE][0].replace(SPACE, " ").encode()
        return out.decode("utf-8", "replace")

    def table(self):
        """(texts, scores, types) for the GGUF file."""
        texts = ["<unk>", "<s>", "<|end|>"] + [f"<0x{b:02X}>" for b in range(256)] + [f"<|{role}|>" for role in MARKERS]
        types = [TYPE_UNKNOWN, TYPE_CONTROL, TYPE_CONTROL] + [TYPE_BYTE] * 256 + [TYPE_CONTROL] * len(MARKERS)
        return (texts + [t for t, _ in self.pieces], [0.0] * len(texts) + [s for _, s in self.pieces],
                types + [TYPE_NORMAL] * len(self.pieces))


def train(texts, size):
    """Byte-pair merges over the words of `texts`, the most frequent pair first, until the vocabulary has `size` entries."""
    alphabet = [SPACE] + [chr(c) for c in range(33, 127)]
    counts = collections.Counter(word for text in texts for word in words(text))
    split = {word: list(word) for word in counts}
    merges = []
    while FIRST_PIECE + len(merges) + len(alphabet) < size:
        pairs = collections.Counter()
        for word, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += counts[word]
        (left, right), _ = max(pairs.items(), key=lambda item: (item[1], item[0]))
        merges.append(left + right)
        for parts in split.values():
            i = 0
            while i < len(parts) - 1:
                if parts[i] == left and parts[i + 1] == right:
                    parts[i:i + 2] = [left + right]
                i += 1
    merges = list(dict.fromkeys(merges))
    ranked = merges + alphabet
    return Tokenizer([(text, -float(rank)) for rank, text in enumerate(ranked)])
