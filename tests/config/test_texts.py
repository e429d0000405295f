"""Text files that people write: of another encoding, with a mark at the start, with names that stand twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.cli.main import main
from steel_megatron.config import ConfigError, DataError, parse_yaml, read_text
from steel_megatron.config.texts import first_line, read_json_object, some


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
@pytest.mark.parametrize(
    "flags",
    [
        ["train", "--config"],
        ["plan", "--config"],
        ["train", "--train-iters", "1", "--phases"],
        ["clean", "--input", "no.jsonl", "--output", "out.jsonl", "--recipe"],
        ["generate", "--load", "no", "--prompt-file"],
    ],
)
def test_a_file_that_is_not_utf8_is_three_lines_that_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str], encoding: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "given.txt").write_text("# 学习率\nlr: 1\n", encoding=encoding)
    assert main([*flags, "given.txt"]) == 2
    told = capsys.readouterr().err
    assert "given.txt: byte 0x" in told
    assert "is not UTF-8\n  rule: it is a text file in UTF-8\n  fix:  " in told


def test_the_mark_of_other_editors_is_no_part_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbf" + "学".encode())
    assert read_text(path) == "学"


def test_a_name_stands_once_in_its_mapping_and_merged_ones_are_overridden() -> None:
    path = Path("run.yaml")
    with pytest.raises(ConfigError, match=r"run\.yaml is not valid YAML: 'a' stands twice .*line 2"):
        parse_yaml("a: 1\na: 2\n", path)
    merged = "x: &x {a: 1, b: 1}\ny: {<<: *x, b: 2}\n"
    assert parse_yaml(merged, path)["y"] == {"a": 1, "b": 2}


def test_a_few_names() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some([*"abcde"], 2, "; ") == "a; b and 3 more"


def test_an_error_in_a_line() -> None:
    assert first_line(ValueError("\nfirst\nsecond")) == "first"
    assert first_line(KeyError()) == "KeyError"


def test_a_json_object_or_why_it_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_json_object(path) == {}
    path.write_text('{"a": "中"}', encoding="utf-8")
    assert read_json_object(path) == {"a": "中"}
    for content, said in (("{", "is damaged"), ("[1]", "holds a list")):
        path.write_text(content)
        with pytest.raises(DataError, match=said):
            read_json_object(path)
