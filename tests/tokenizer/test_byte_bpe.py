"""Merging by ranks against the plainest way to do it."""

from __future__ import annotations

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import DataError
from steel_megatron.tokenizer.byte_bpe import byte_letters, encode_piece, merge, read_ranks

BYTES = [bytes([byte]) for byte in range(256)]


def naive_merge(piece: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    parts = [bytes([byte]) for byte in piece]
    while True:
        found = [(ranks[a + b], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in ranks]
        if not found:
            return parts
        _, i = min(found)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


@st.composite
def vocabularies(draw) -> dict[bytes, int]:
    tokens = list(BYTES)
    for _ in range(draw(st.integers(0, 30))):
        letters = [token for token in tokens if not token.strip(b"abc")]
        merged = draw(st.sampled_from(letters)) + draw(st.sampled_from(letters))
        if merged not in tokens:
            tokens.append(merged)
    return {token: rank for rank, token in enumerate(tokens)}


@given(vocabularies(), st.text("abc", max_size=60))
def test_merges_as_the_plain_loop_does(ranks, text):
    piece = text.encode()
    assert merge(piece, ranks) == naive_merge(piece, ranks)


def test_a_piece_that_is_a_token_is_taken_whole():
    # No merge leads to "abc": its halves are not tokens.
    ranks = {token: rank for rank, token in enumerate([*BYTES, b"abc"])}
    assert encode_piece(b"abc", ranks) == [256]
    assert encode_piece(b"abcd", ranks) == list(b"abcd")


def test_merges_below_a_rank_only():
    ranks = {token: rank for rank, token in enumerate([*BYTES, b"ab", b"abab"])}
    assert merge(b"abab", ranks, below=257) == [b"ab", b"ab"]


def test_the_alphabet_is_gpt2s():
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    assert byte_letters() == bytes_to_unicode()


def line(token: bytes, rank: int) -> bytes:
    return base64.b64encode(token) + b" %d\n" % rank


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([line(token, rank) for rank, token in enumerate(BYTES)] + [b"!!! 256\n"], "line 257"),
        ([line(token, rank) for rank, token in enumerate(BYTES)] + [b"YWI=\n"], "line 257"),
        ([line(token, rank) for rank, token in enumerate(BYTES)] + [line(b"ab", 258)], "not 0 … 256"),
        ([line(token, rank) for rank, token in enumerate(BYTES)] + [line(b"ab", 7)], "not 0 … 256"),
        ([line(token, rank) for rank, token in enumerate(BYTES[:-1])], "0xff"),
        ([], "256 of the 256"),
    ],
)
def test_a_damaged_vocabulary_is_named(tmp_path, lines, message):
    path = tmp_path / "x.tiktoken"
    path.write_bytes(b"".join(lines))
    with pytest.raises(DataError, match=message):
        read_ranks(path)
