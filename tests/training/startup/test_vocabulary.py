"""The run's tokenizer against the size of its vocabulary."""

from __future__ import annotations

from steel_megatron.config import RunConfig
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.training.startup.vocabulary import run_tokenizer


def test_none_is_named() -> None:
    assert run_tokenizer(RunConfig.of(vocab_size=100)) is None


def test_the_null_tokenizer_has_the_size_of_the_vocabulary() -> None:
    found = run_tokenizer(RunConfig.of(tokenizer_type="NullTokenizer", vocab_size=100))
    assert isinstance(found, NullTokenizer)
    assert found.vocab_size == 101
