"""The tokenizer that flags name."""

from __future__ import annotations

import argparse

from steel_megatron.cli.tokenizer_flags import add_tokenizer, given_tokenizer


def test_a_tokenizer_or_none() -> None:
    parser = argparse.ArgumentParser()
    add_tokenizer(parser, "Of the data.")
    assert given_tokenizer(parser.parse_args([])) is None
    found = given_tokenizer(parser.parse_args(["--tokenizer-type", "NullTokenizer", "--vocab-size", "50"]))
    assert found is not None
    assert (found.type, found.vocab_size) == ("NullTokenizer", 51)
