"""Ranges of samples as flags and files have them."""

from __future__ import annotations

import argparse

import pytest

from steel_megatron.config import ConfigError, Parser, add_run_flags, load_run_config
from steel_megatron.config.sample_ranges import joined, parse_ranges, written


def test_ranges_are_sorted_and_joined() -> None:
    assert parse_ranges(["40:48", "1_000:2_000", "44:50", "50:60"]) == ((40, 60), (1000, 2000))
    assert written(joined([(3, 4), (1, 2)])) == ["1:2", "3:4"]
    assert parse_ranges([]) == ()


@pytest.mark.parametrize("word", ["40", "40:", ":48", "48:40", "40:40", "-1:4", "a:b", "1:2:3", "2448", ""])
def test_what_is_no_range_is_three_lines(word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_ranges([word])
    assert f"--skip-samples {word}" in caught.value.given
    assert caught.value.rule
    assert caught.value.fix


def test_the_flag_adds_up_and_the_file_takes_quotes(tmp_path) -> None:
    parser: argparse.ArgumentParser = Parser()
    add_run_flags(parser)
    given = parser.parse_args(["--skip-samples", "1:2", "5:6", "--skip_samples", "8:9"])
    assert given.skip_samples == ["1:2", "5:6", "8:9"]
    path = tmp_path / "run.yaml"
    path.write_text('skip_samples: ["40:48"]\n')
    assert load_run_config(path).data.skip_samples == ("40:48",)
