from __future__ import annotations

from pathlib import Path

import pytest

from helpers.corpus_files import read_json_lines, write_json_lines
from steel_megatron.cli.main import main


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_json_lines(tmp_path / "in.jsonl", [{"body": "一"}, {"text": "x"}])
    output = tmp_path / "out.jsonl"
    command = ["convert", "--corpus", "jsonl", "--input", str(path), "--output", str(output), "--text-key", "body"]
    assert main(command) == 0
    assert read_json_lines(output) == [{"text": "一", "source": "jsonl", "id": "in.jsonl:1"}]
    printed = capsys.readouterr().out
    assert "1 documents of 2 records" in printed
    assert "1 records rejected, kept in " in printed
    assert "1 missing_field: a field that the corpus needs is not there" in printed
    assert main([*command, "--strict"]) == 1
    assert "nothing to do" in capsys.readouterr().out


def test_help_names_every_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    printed = capsys.readouterr().out
    assert "skypile" in printed
    assert "--pseudo-tags {remove,comment}" in printed
    assert "belle, chat, firefly, moss: How turns become text" in " ".join(printed.split())


def test_wrong_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--corpus", "skipile", "--input", "x", "--output", "y"]) == 2
    assert main(["convert", "--corpus", "skypile", "--input", str(tmp_path / "x"), "--output", "y.jsonl"]) == 2
    assert "no input file at" in capsys.readouterr().err
