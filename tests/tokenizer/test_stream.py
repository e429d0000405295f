"""Text that comes token by token is the text of all tokens, and no piece of it is a broken character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.sample_texts import TEXTS
from helpers.small_tokenizer import small_tokenizer
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokenizer.stream import TextStream


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return build_tokenizer(None, small_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.mark.parametrize("name", TEXTS)
def test_pieces_make_the_text(name, tokenizer):
    ids = tokenizer.encode(TEXTS[name])
    stream = TextStream(tokenizer.decode)
    pieces = [stream.add(token) for token in ids]
    assert "".join(pieces) + stream.end() == tokenizer.decode(ids)
    if "\ufffd" not in tokenizer.decode(ids):
        assert not any("\ufffd" in piece for piece in pieces)
        assert stream.end() == ""


@given(ids=st.lists(st.integers(0, 255), max_size=30))
def test_any_bytes_come_through(ids):
    def decode(part):
        return bytes(part).decode("utf-8", "replace")

    stream = TextStream(decode)
    assert "".join(stream.add(byte) for byte in ids) + stream.end() == decode(ids)


def test_a_leading_blank_is_kept_between_words():
    words = ["▁the", "▁cat", "▁s", "at"]

    def decode(ids):  # as SentencePiece: the first blank is not part of the text
        return "".join(words[i] for i in ids).replace("▁", " ").removeprefix(" ")

    stream = TextStream(decode)
    assert [stream.add(i) for i in range(4)] == ["the", " cat", " s", "at"]
