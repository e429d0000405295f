"""NFC: texts that need not pass through the normaliser come out as if they had."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tokenizers import normalizers

from steel_megatron.tokenizer.normalization import nfc

FULL = normalizers.NFC()


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("e\u0301\u1100\u1161か\u3099Å\u212b中a", max_size=8))
def test_the_short_way_gives_the_same(text: str) -> None:
    assert nfc(text) == FULL.normalize_str(text)


def test_every_character_alone() -> None:
    letters = [chr(c) for c in range(0x20000) if not 0xD800 <= c < 0xE000]
    assert [c for c in letters if nfc(c) == c and FULL.normalize_str(c) != c] == []


def test_what_changes() -> None:
    assert nfc("e\u0301 か\u3099 \u212b") == "é が Å"
