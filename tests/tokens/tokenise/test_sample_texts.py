"""Texts for training a tokenizer."""

from __future__ import annotations

import pytest

from helpers.json_lines import LINES, write_lines
from steel_megatron.tokens.tokenise.sample_texts import TextSample


def test_everything_without_a_limit(tmp_path):
    paths = [write_lines(tmp_path / "a.jsonl", [*LINES, b""]), write_lines(tmp_path / "b.jsonl.zst", ["字"])]
    sample = TextSample(paths, "text")
    texts = list(sample)
    assert len(texts) == sample.documents == sum(reason is None for reason in LINES.values()) + 1
    assert texts[-1] == "字"
    assert sample.text_bytes == sum(len(text.encode()) for text in texts)
    assert sum(sample.rejects.values()) == sum(reason is not None for reason in LINES.values())
    assert "passed over" in sample.summary()


def test_every_file_gives_its_share(tmp_path):
    big = write_lines(tmp_path / "big.jsonl", ["b" * 89] * 900)
    small = write_lines(tmp_path / "small.jsonl", ["s" * 89] * 100)
    texts = list(TextSample([big, small], "text", 10_000))
    assert 9_900 <= sum(map(len, texts)) <= 10_200
    assert sum(text.startswith("s") for text in texts) == pytest.approx(12, abs=1)
