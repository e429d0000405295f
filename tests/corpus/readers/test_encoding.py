"""The encoding of a text, told from its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.corpus.readers.encoding import BROKEN, MARKING, detect_encoding

SIMPLIFIED = "我们今天在学校里学习中文，大家都很高兴。"
TRADITIONAL = "我們今天在學校裡學習中文，大家都很高興。"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (SIMPLIFIED, "utf-8"),
        (SIMPLIFIED, "gb18030"),
        (TRADITIONAL, "big5"),
        (SIMPLIFIED, "utf-8-sig"),
        (SIMPLIFIED, "utf-16"),
        (SIMPLIFIED, "utf-32"),
        ("plain", "utf-8"),
    ],
)
def test_told(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    assert detect_encoding(data) == encoding
    assert data.decode(encoding) == text


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: not text.startswith("\ufeff")))
def test_what_is_utf8_is_told_so(text: str) -> None:
    data = text.encode()
    assert detect_encoding(data) == "utf-8"


def test_a_character_cut_at_the_end_is_no_fault_where_more_follows() -> None:
    data = "汉字".encode()[:-1]
    assert detect_encoding(data, whole=False) == "utf-8"


def test_a_bad_byte_in_a_long_text_leaves_it_utf8_and_is_marked() -> None:
    data = (SIMPLIFIED * 20).encode() + b"\xff"
    assert detect_encoding(data) == "utf-8"
    assert data.decode("utf-8", MARKING) == SIMPLIFIED * 20 + BROKEN
