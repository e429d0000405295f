"""Texts on which tokenizers like to differ."""

from __future__ import annotations

import random

TEXTS = {
    "empty": "",
    "english": "The quick brown fox doesn't jump; it'll say I'VE HAD 3,141 of 'em—it's over.",
    "chinese": "人工智能是研究如何使计算机模拟人类智能的学科，它包括机器学习、深度学习等。\n二〇二四年共有１２３４项。",
    "mixed": "使用PyTorch训练1.1B模型，在8×A100上每秒14,700 tokens。",
    "code": 'def f(x: int) -> int:\n\t"""Doc."""\n    return x**2  # 平方\n\n\nif x == "y":\r\n    print(f(3))\n',
    "control marks": "<|endoftext|><|im_start|>user\n你好<|im_end|>\n</s><s><unk>[INST]<pad>",
    "emoji": "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 🇨🇳 👍🏽 ❤\ufe0f 🙂🙃",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x80\x85\u200b\u200d\u2028\u2029\ufeff\ufffd\ufffe",
    "blanks": "   a    b\t\tc \n \n\n   \r\n\r  x\u3000\u3000y\xa0z   ",
    "not composed": "e\u0301 n\u0303 \u1100\u1161\u11a8 \u0344 \u212b か\u3099 \u0b47\u0b3e q\u0307\u0323 \ufb01",
    "case folding": "'S 'ſ 'LL 'Ve 'Kelvin\u212a ǅ ß ﬃ",
    "digits": "0123456789 ４５ ٣٤ ½ Ⅷ 一二三 10^9",
    "scripts": "Привет мир שלום مرحبا สวัสดี 한국어 नमस्ते Ελληνικά",
    "repeats": "aaaaaaaaaaaaaaaaaaaaaaaaaaaa哈哈哈哈哈哈哈哈哈哈哈哈============----------。。。。。。",
    "rare planes": "𠮷野家 𝒳 \U0001f9ff \U000e0001 \U0010ffff",
}


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Bytes at random read as UTF-8 as far as they are, and characters at random from all planes."""
    generator = random.Random(seed)
    texts = []
    for _ in range(count):
        length = generator.randrange(200)
        texts.append(generator.randbytes(length).decode("utf-8", "replace"))
        texts.append(generator.randbytes(length).decode("latin-1"))
        points = (generator.choice((0x80, 0x3000, 0xA000, 0x110000)) for _ in range(length))
        texts.append("".join(chr(generator.randrange(top)) for top in points).encode("utf-8", "ignore").decode("utf-8"))
    return texts
