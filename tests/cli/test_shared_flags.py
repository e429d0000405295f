"""Flags of several commands: --engine with the engines of all and of one, --strict."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from helpers.small_tokenizer import small_tokenizer
from steel_megatron.cli.main import main
from steel_megatron.cli.shared_flags import add_engine

GOOD = '{"text": "a good record"}\n{"text": "another"}\n'


def command(name: str, folder: Path) -> list[str]:
    recipe = folder / "r.yaml"
    recipe.write_text("process:\n  - text_length_filter: {min_len: 1}\n")
    given = ["--input", str(folder / "in"), "--overwrite"]
    return {
        "convert": ["convert", "--corpus", "jsonl", *given, "--output", str(folder / "out.jsonl")],
        "clean": ["clean", "--recipe", str(recipe), *given, "--output", str(folder / "clean.jsonl")],
        "dedup": ["dedup", "--input", f"a={folder / 'in'}", "--overwrite", "--output", str(folder / "dedup")],
        "tokenize": [
            *("tokenize", *given, "--output-prefix", str(folder / "tokens")),
            *("--tokenizer-model", str(small_tokenizer(folder / "t"))),
        ],
    }[name]


@pytest.mark.parametrize("name", ["convert", "clean", "dedup", "tokenize"])
def test_what_could_not_be_read_is_told_and_counts_with_strict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    files = tmp_path / "in"
    files.mkdir()
    (files / "a.jsonl").write_text(GOOD)
    words = command(name, tmp_path)
    assert main([*words, "--strict"]) == 0
    capsys.readouterr()
    (files / "b.jsonl").write_bytes('{"text": "编码不同"}\n'.encode("gb18030"))
    assert main(words) == 0
    assert "b.jsonl is not UTF-8 but, it seems, GB18030" in capsys.readouterr().out
    assert main([*words, "--strict"]) == 1
    (files / "b.jsonl").write_text('{"text": "one"}\nbroken\n')
    assert main([*words, "--strict"]) == 1
    assert main(words) == 0


@pytest.mark.parametrize("name", ["convert", "clean", "tokenize"])
def test_where_nothing_can_be_read_the_error_says_what_the_files_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_bytes(GOOD.encode("utf-16"))
    assert main(command(name, tmp_path)) == 2
    assert "fix:  a.jsonl is UTF-16: iconv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ('{"data": [{"text": "a"}, {"text": "b"}]}', '.["data"][]\' writes one a line'),
        ('{"text": ["a", "b"], "id": [1, 2]}', "all fields hold 2 values: jq -c"),
    ],
)
@pytest.mark.parametrize("name", ["convert", "clean"])
def test_an_object_that_holds_all_records_is_told_how_to_be_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, hint: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text(content)
    assert main(command(name, tmp_path)) == 2
    assert hint in capsys.readouterr().err


def test_engines_of_all_and_of_one() -> None:
    parser = argparse.ArgumentParser()
    add_engine(parser, {"own": "another program"})
    assert parser.parse_args([]).engine == "local"
    for engine in ("local", "ray", "own"):
        assert parser.parse_args(["--engine", engine]).engine == engine
    assert "own: another program" in " ".join(parser.format_help().split())


def test_an_engine_of_another_command() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_engine(parser)
    with pytest.raises(argparse.ArgumentError):
        parser.parse_args(["--engine", "own"])
