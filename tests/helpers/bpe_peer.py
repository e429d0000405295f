"""What the ``tokenizers`` library learns of texts, to compare ours with."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from steel_megatron.tokenizer.byte_bpe import QWEN_PATTERN
from steel_megatron.tokenizer.hf_folder import add_special_tokens, byte_level_bpe


def their_bpe(texts: Sequence[str], vocab_size: int, special_tokens: Sequence[str] = ()) -> Tokenizer:
    """Of the same pattern, normalisation and alphabet."""
    backend = byte_level_bpe(models.BPE(), QWEN_PATTERN, "NFC")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    add_special_tokens(backend, special_tokens)
    return backend


def learned(backend: Tokenizer) -> tuple[dict[str, int], list[Any]]:
    """Vocabulary and merges."""
    model = json.loads(backend.to_str())["model"]
    return model["vocab"], model["merges"]


def mixed_texts(seed: int, count: int = 8, length: int = 300) -> list[str]:
    """Texts of few and of many different characters, with runs, blanks, line ends, contractions and rare scripts."""
    choose = random.Random(seed)
    alphabets: list[Sequence[str]] = [
        "ab",
        "abc  \n",
        "ACGT",
        ["'S", "'re", "'LL", "'ve", "x", "'ſ", " ", "\r\n", "\n\n", "  \n ", "\t", "１", "ⅷ", "é", "e\u0301"],
        ["人工", "智能", "工", "的", "，", "。", "研究", " ", "\u3000"],
        [chr(code) for code in (*range(0x4E00, 0x4E30), *range(0x1F600, 0x1F610))],
        [chr(code) for code in choose.sample(range(0x20, 0xD800), 60)],
    ]
    texts = []
    for _ in range(count):
        alphabet = choose.choice(alphabets)
        texts.append("".join(choose.choice(alphabet) for _ in range(choose.randrange(length))))
        texts.append("a" * choose.randrange(40) + " " * choose.randrange(9) + "aa" * choose.randrange(20))
    return texts
