"""Each corpus on records as published: what text they give, and why some give none."""

from __future__ import annotations

from typing import Any

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.corpus import RejectedRecordError, all_corpora, find_corpus
from steel_megatron.corpus.normalize import normalize


def text_of(name: str, record: dict[str, Any], **options: str) -> str:
    corpus = find_corpus(name)
    defaults = {option.name: option.default for option in corpus.options}
    return str(normalize(corpus.text(record, defaults | options)))


def source_file(content: str, path: str = "pkg/a.py") -> dict[str, Any]:
    return {"max_stars_repo_path": path, "max_stars_repo_name": "who/what", "max_stars_count": None, "content": content}


@pytest.mark.parametrize(
    ("head", "code"),
    [
        ("<reponame>who/what\n", "import os\n"),
        ("<filename>pkg/a.py<gh_stars>10-100\n", "#!/usr/bin/env python\nimport os\n"),
        ("<reponame>who/what<filename>pkg/a.py<gh_stars>1000+\n", "\timport os\n"),
        ("\ufeff<gh_stars>0\n", "import os\n"),
        ("\ufeff", "#pragma once\n"),
        ("", "int x; <reponame>who/what\n"),
        ("", "<filename>report.txt</filename>\n"),
        ("", "<filename>\n  report.txt\n</filename>\n"),
        ("", 'x = "<reponame>who/what"\n'),
    ],
)
def test_starcoder_without_its_marks(head: str, code: str) -> None:
    assert text_of("starcoder", source_file(head + code)) == code


@pytest.mark.parametrize(
    ("path", "code", "expected"),
    [
        ("a.py", "x\n", "# who/what 10-100\nx\n"),
        ("a.py", "#!/bin/python\nx\n", "#!/bin/python\n# who/what 10-100\nx\n"),
        ("A.CPP", "x\n", "// who/what 10-100\nx\n"),
        ("a.sql", "x\n", "-- who/what 10-100\nx\n"),
        ("a.php", "<?php\nx\n", "<?php\n// who/what 10-100\nx\n"),
        ("Makefile", "x\n", "# who/what 10-100\nx\n"),
        ("a.html", "x\n", "x\n"),
    ],
)
def test_starcoder_with_marks_as_a_comment(path: str, code: str, expected: str) -> None:
    record = source_file("<reponame>who/what<gh_stars>10-100\n" + code, path)
    assert text_of("starcoder", record, pseudo_tags="comment") == expected


def test_starcoder_file_of_marks_only_is_empty() -> None:
    with pytest.raises(RejectedRecordError, match="empty"):
        text_of("starcoder", source_file("<reponame>who/what"))


def test_skypile() -> None:
    page = "第一章　总则，如下：\n第一条（略）。\n"
    assert text_of("skypile", {"text": page}) == page


def test_wikipedia_cn() -> None:
    record = {"completion": "算盘（珠算）是一种工具。\n", "source": "wikipedia.zh2307"}
    assert text_of("wikipedia_cn", record) == record["completion"]


def test_jsonl_takes_the_field_it_is_told() -> None:
    corpus = find_corpus("jsonl")
    options = {"text_key": "body", "id_key": "key"}
    assert text_of("jsonl", {"text": "not this", "body": "this"}, text_key="body") == "this"
    assert corpus.identity({"key": 17}, options) == "17"
    assert corpus.identity({"key": "a/b"}, options) == "a/b"
    assert corpus.identity({"key": None}, options) is None
    assert corpus.identity({}, options) is None


@pytest.mark.parametrize(
    ("record", "reason"),
    [({}, "missing_field"), ({"text": None}, "null_field"), ({"text": 3}, "not_a_string"), ({"text": " \n"}, "empty")],
)
def test_general_reasons(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedRecordError) as caught:
        text_of("jsonl", record)
    assert caught.value.reason == reason


def test_registry() -> None:
    assert {"jsonl", "skypile", "starcoder", "text", "wikipedia_cn"} <= set(all_corpora())
    options = {option for corpus in all_corpora().values() for option in corpus.options}
    assert len({option.name for option in options}) == len(options), "options are flags: one meaning for each name"
    with pytest.raises(ConfigError, match="did you mean wikipedia_cn"):
        find_corpus("wikipediacn")
