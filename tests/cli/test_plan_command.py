"""steel plan: counts with units, and what an answer in days needs."""

from __future__ import annotations

import argparse

import pytest

from steel_megatron.cli.plan_command import add_arguments, parse_count, run
from steel_megatron.config import ConfigError


def args(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("text", "count"), [("300B", 3e11), ("1T", 1e12), ("1.5k", 1500), ("2m", 2e6), ("7G", 7e9), ("12", 12)]
)
def test_counts_have_units(text, count):
    assert parse_count(text, "--tokens") == count


@pytest.mark.parametrize("text", ["", "B", "3X", "three", "1 B B"])
def test_other_words_are_refused_with_an_example(text):
    with pytest.raises(ConfigError) as caught:
        parse_count(text, "--tokens")
    assert caught.value.given == f"--tokens {text}"
    assert "300B" in caught.value.fix


def test_days_need_the_peak_of_the_device():
    words = ["--num-layers", "2", "--hidden-size", "64", "--num-attention-heads", "4", "--vocab-size", "128"]
    words += ["--seq-length", "32", "--micro-batch-size", "1", "--tokens", "1B"]
    with pytest.raises(ConfigError) as caught:
        run(args(*words))
    assert caught.value.given == "--tokens without --peak-tflops"
