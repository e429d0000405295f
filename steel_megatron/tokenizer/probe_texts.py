"""Fixed texts on which encoders of one vocabulary tend to differ; the same on every machine."""

from __future__ import annotations

import random
from functools import lru_cache

_BY_HAND = (
    "",
    " ",
    "\n",
    "\r\n\r\n  \n",
    " \t\u3000\u00a0\u2028\u0085x",
    "<|endoftext|>",
    "a<|im_start|>user\n你好<|im_end|>\n",
    "<|im_end",
    "I'LL we'Re 's'S don't 'ſ K's",
    "e\u0301 \u212b \u2126 한국어 한국어 \u0958 \ufb01",
    "\u0301\u0302 leading marks",
    "123456789 3.14 １２３ ٣٤٥ ½ Ⅷ",
    "中文，没有空格。「引号」（括号）……——\u3000\u3000段落",
    "中English混排123和，标点！？ 结尾 ",
    "𠀀𠮷𪚥 丂丄 龘 㐀 \ue000 \ufffd \ufeff",
    "👩\u200d👩\u200d👧\u200d👦 🇨🇳 ☺\ufe0f \U0001f9ff",
    "नमस्ते สวัสดี שלום مرحبا Привет ελληνικά",
    "def f(x):\n\tif x == 0:\n\t\treturn [i**2 for i in range(10)]\n\n\n# ---\n",
    "#include <stdio.h>\n/* 注释 */ int main(){return 0;}//\r\n",
    "\x00\x01\x1b\x7f\x80\x9f",
    "a" * 3000,
    " " * 3000,
    "\n" * 500 + "x" + "\n " * 500,
    "的" * 3000,
    "!?" * 1500,
    "=" * 77 + "\n" + "-" * 1000,
    "https://例子.测试/路径?q=1&r=%E4%BD%A0#x",
)
# Stretches of Unicode from which random texts are drawn: first and last code point.
_RANGES = (
    (0x20, 0x7E),
    (0x9, 0xD),
    (0x4E00, 0x9FFF),
    (0x4E00, 0x4FFF),
    (0x3000, 0x30FF),
    (0xA0, 0x2FF),
    (0x300, 0x36F),
    (0x2000, 0x206F),
    (0xAC00, 0xD7A3),
    (0x1100, 0x11FF),
    (0xFF00, 0xFFEF),
    (0x1F300, 0x1F6FF),
    (0x20000, 0x2A6DF),
    (0x0, 0xD7FF),
    (0xE000, 0x10FFFF),
)


@lru_cache(maxsize=1)
def probe_texts() -> tuple[str, ...]:
    """About 800 texts: edge cases by hand, and random mixtures of one to four stretches of Unicode."""
    generator = random.Random(20)
    texts = list(_BY_HAND)
    for _ in range(800):
        ranges = [_RANGES[int(generator.random() * len(_RANGES))] for _ in range(1 + int(generator.random() * 4))]
        letters = []
        for _ in range(1 + int(generator.random() * 60)):
            first, last = ranges[int(generator.random() * len(ranges))]
            letters.append(chr(first + int(generator.random() * (last - first + 1))))
        texts.append("".join(letters))
    return tuple(texts)
