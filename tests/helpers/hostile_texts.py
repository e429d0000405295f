"""Texts made to find a difference between encoders: of what patterns treat apart, and of a vocabulary's tokens."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

# fmt: off
_APART = (
    "'", "'s", "'S", "'t", "'re", "'RE", "'ve", "'m", "'ll", "'lL", "'d", "'\u017f", "\u212a", "''", " '", "'x",
    "\u2019s", " ", " ", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n", "\n ", "\n  ", "\r", "\v", "\f", "\x1c",
    "\x85", "\xa0", "\u3000", "\u2028", "\u2003", "\u200b", "\ufeff", "\x00", "\x7f", "\ufffd", "\ue000",
    "\U000e0001", "\U0010ffff", "0", "12", "345", "6789", "\uff11", "\uff12\uff13", "\u0663", "\xbd", "\u2167",
    "\u4e00", "\u3007", "(", ")", ".", ",", "!?", "//", "==", "_", "#", "\uff0c", "\u3002", "\u300c", "\u2014\u2014",
    "\u2026", "\uff01\n", "a", "B", "the", " the", "Hello", "xyz", "camelCase", "\xe9", "e\u0301", "\xdf", "\u01c5",
    "\ufb01", "\u0131", "\u7684", "\u662f", "\u4e2d\u56fd", "\u4eba\u6c11", "\u9fff", "\u9ff0", "\u3400",
    "\U00020000", "\U00031350", "\uf900", "\u304b\u3099", "\u3042", "\u30ab\u30bf", "\ud55c", "\uad6d\uc5b4",
    "\u1112\u1161\u11ab", "\u041f\u0440\u0438", "\u03b1", "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\u0e2a\u0e27\u0e31", "\u05e9\u05dc", "\u0645\u0631", "\u0301", "\u0b47\u0b3e", "\U0001f469\u200d\U0001f467",
    "\U0001f1e8\U0001f1f3", "\u263a\ufe0f", "\U0001fae9", "\u0897", "\u1c89", "\u088f", "<|endoftext|>", "<|im_end|>",
    "<s>", "def f(x):\n\treturn", "https://x.y/z?q=1", "    if", "\n\n\n    ",
)
# fmt: on


def hostile_texts(count: int, seed: int, tokens: Sequence[bytes] = ()) -> Iterator[str]:
    """``count`` texts, the same for the same seed; ``tokens`` of a vocabulary are put in."""
    generator = random.Random(seed)
    pieces = [token.decode("utf-8", "ignore") for token in tokens]
    ideographs = [piece for piece in pieces if piece and all("\u4e00" <= letter <= "\u9fff" for letter in piece)]
    words = [piece for piece in pieces if piece.strip().isascii() and piece.strip().isalpha()]
    sources = [source for source in (_APART, pieces, ideographs, words) if source]
    for _ in range(count):
        kind = generator.random()
        if kind < 0.05:
            letter = generator.choice(_APART)
            yield generator.choice(_APART) + letter * generator.randrange(300) + generator.choice(_APART)
            continue
        mixture = generator.sample(sources, generator.randint(1, min(3, len(sources))))
        parts = [generator.choice(generator.choice(mixture)) for _ in range(generator.randrange(24))]
        if kind < 0.2:  # characters at random between
            for _ in range(generator.randrange(6)):
                c = generator.randrange(generator.choice((0x250, 0x3100, 0xA000, 0x10000, 0x110000)))
                parts.insert(generator.randrange(len(parts) + 1), "" if 0xD800 <= c < 0xE000 else chr(c))
        yield "".join(parts)
