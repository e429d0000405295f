"""A tiktoken vocabulary written as a Hugging Face folder gives the ids of tiktoken itself."""

from __future__ import annotations

import json

import pytest
import tiktoken
from tokenizers import Tokenizer as Backend

from steel_megatron.tokenizer.tiktoken_to_hf import save_tiktoken_as_hf

PATTERN = r"\p{L}+|\P{L}+"
RANKS = {bytes([byte]): byte for byte in range(256)}
MERGED = RANKS | {b"ab": 256, b"abc": 257, "你".encode()[:2]: 258, "你".encode(): 259, b"bc": 260}


@pytest.mark.parametrize("ranks", [MERGED, MERGED | {b"xyz": 261}], ids=["merges make all", "one that no merge makes"])
def test_the_ids_are_those_of_tiktoken(tmp_path, ranks):
    special = {"<end>": len(ranks) + 1, "<begin>": len(ranks)}
    save_tiktoken_as_hf(ranks, PATTERN, None, special, tmp_path)
    ours = Backend.from_file(str(tmp_path / "tokenizer.json"))
    theirs = tiktoken.Encoding("t", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)
    for text in ("", "abc bcab", "你好 abcabc", "xyz", "xyzabc!", "e\u0301😀", "a\n\n b"):
        assert ours.encode(text).ids == theirs.encode(text), text
    text = "abc<begin>xyz<end>"
    assert ours.encode(text).ids == theirs.encode(text, allowed_special="all")
    names = json.loads((tmp_path / "tokenizer_config.json").read_text())["additional_special_tokens"]
    assert names == ["<begin>", "<end>"]  # by id, not as they were given
