"""Filters by lists that are given as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from helpers.corpus_files import read_json_lines, write_json_lines
from steel_megatron._text import Text
from steel_megatron.config import ConfigError
from steel_megatron.corpus.cleaning import clean, read_recipe
from steel_megatron.corpus.cleaning.lists import read_list
from steel_megatron.corpus.cleaning.operation import Filter, build_operation


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_entries_are_lines_without_remarks(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a", "\ufeff赌场 # 赌", "", "# nothing", "六合彩"), write(tmp_path / "b", "x y")]
    assert read_list("op", paths) == ["赌场", "六合彩", "x y"]
    empty = write(tmp_path / "c", "#")
    for wrong, said in (("", "no paths"), (str(tmp_path / "gone"), "No such file"), (empty, "no entry")):
        with pytest.raises(ConfigError, match=said):
            read_list("op", wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [("澳门赌场和赌场六合彩", 2), ("SEX and Sex", 1), ("Essex sexton", 0), ("在sex网", 1), ("", 0), ("赌 场", 0)],
)
def test_different_words_are_counted(tmp_path: Path, text: str, value: int) -> None:
    words = write(tmp_path / "w", "赌场", "六合彩", "sex")
    operation = build_operation("word_list_filter", {"paths": words, "max_num": 1})
    assert isinstance(operation, Filter)
    judgement = operation.judge(Text(text))
    assert judgement.value == value
    assert bool(judgement.why) is (value > 1)


def test_occurrences_per_thousand_characters(tmp_path: Path) -> None:
    operation = build_operation("word_list_filter", {"paths": [write(tmp_path / "w", "赌")], "count": "all"})
    assert isinstance(operation, Filter)
    assert operation.measure(Text("赌" * 5 + "好" * 95)) == 50
    with pytest.raises(ConfigError, match="distinct or all"):
        build_operation("word_list_filter", {"paths": [str(tmp_path / "w")], "count": "some"})


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://www.bad.cn/page", False),
        ("http://m.bad.cn:8080/", False),
        ("BAD.CN/x", False),
        ("https://notbad.cn/", True),
        ("https://bad.cn.good.com/", True),
        ("https://mixed.com/casino/1.html", False),
        ("https://mixed.com/news/", True),
        ("https://[broken", True),
        (None, True),
        (5, True),
    ],
)
def test_sites_and_addresses(tmp_path: Path, url: Any, kept: bool) -> None:
    sites = write(tmp_path / "sites.txt", "bad.cn", "https://mixed.com/casino")
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"process:\n  - site_list_filter: {{paths: {sites}}}\n")
    path = write_json_lines(tmp_path / "in.jsonl", [{"text": "a text", "url": url}, {"text": "another"}])
    clean(read_recipe(str(recipe)), [path], tmp_path / "out.jsonl")
    assert len(read_json_lines(tmp_path / "out.jsonl")) == 1 + kept
