"""Numbers as text."""

from __future__ import annotations

import pytest

from steel_megatron.config import ConfigError, DataError
from steel_megatron.tokenizer.null import NullTokenizer


def test_numbers_are_ids():
    tokenizer = NullTokenizer(100)
    assert tokenizer.encode("0 17  99\n") == [0, 17, 99]
    assert tokenizer.encode("") == []
    assert tokenizer.decode([0, 17, 99]) == "0 17 99"
    assert (tokenizer.vocab_size, tokenizer.eod_id) == (101, 100)


@pytest.mark.parametrize("text", ["a", "100", "-1", "1.0", "１", "1" * 5000])
def test_what_is_no_id_is_refused(text):
    with pytest.raises(DataError, match="from 0 to 99"):
        NullTokenizer(100).encode(f"1 {text}")


def test_sizes():
    with pytest.raises(ConfigError):
        NullTokenizer(0)
    assert NullTokenizer(5).fingerprint != NullTokenizer(6).fingerprint
