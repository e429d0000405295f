"""steel clean: files by flags or by the recipe, and what is printed."""

from __future__ import annotations

import argparse
import json

import pytest

from helpers.corpus_files import write_json_lines
from helpers.small_tokenizer import small_tokenizer
from steel_megatron.cli.clean_command import TokenCounter, add_arguments, run
from steel_megatron.config import ConfigError
from steel_megatron.tokenizer import build_tokenizer


def args(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("process:\n  - text_length_filter: {min_len: 3}\n")
    return path


def test_what_is_missing_is_named(tmp_path, recipe):
    for flags, given in (
        ([], "no --recipe"),
        (["--recipe", recipe], "no --input"),
        (["--recipe", recipe, "--input", tmp_path / "a.jsonl"], "no --output"),
    ):
        with pytest.raises(ConfigError) as caught:
            run(args(*flags))
        assert caught.value.given == given


def test_what_was_dropped_is_printed_and_listed_later(tmp_path, recipe, capsys):
    path = write_json_lines(tmp_path / "a.jsonl", [{"text": "long enough"}, {"text": "ab", "id": "短"}])
    flags = args("--recipe", recipe, "--input", path, "--output", tmp_path / "out.jsonl")
    assert run(flags) == 0
    out = capsys.readouterr().out
    assert "1 of 2 documents" in out
    assert "1 text_length_filter:" in out
    assert run(flags) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert run(args("--list-drops", tmp_path / "out.jsonl", "--operation", "text_length_filter")) == 0
    assert json.loads(capsys.readouterr().out)["id"] == "短"
    assert run(args("--list-drops", tmp_path / "out.jsonl", "--operation", "read")) == 0
    assert capsys.readouterr().out == ""


def test_tokens_are_counted_by_the_named_tokenizer(tmp_path):
    folder = small_tokenizer(tmp_path / "t")
    text = "你好 tokens"
    assert TokenCounter(None, str(folder))(text) == len(build_tokenizer(None, folder).encode(text))
