"""Probe texts: the same on every machine, encodable, and of every stretch of Unicode."""

from __future__ import annotations

import hashlib

from steel_megatron.tokenizer.probe_texts import probe_texts


def test_the_same_everywhere() -> None:
    texts = probe_texts()
    assert texts is probe_texts()
    assert hashlib.sha256("\0\0".join(texts).encode()).hexdigest()[:16] == "cdbb01c95b93bcf6"


def test_they_reach_every_plane_that_has_text_and_are_utf8() -> None:
    letters = set("".join(probe_texts()))
    assert not any(0xD800 <= ord(letter) < 0xE000 for letter in letters)
    for first, last in ((0x00, 0x7F), (0x300, 0x36F), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x20000, 0x2A6DF)):
        assert sum(first <= ord(letter) <= last for letter in letters) >= 20
