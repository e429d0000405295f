"""Mappers: where they differ from data-juicer on purpose, and what they leave alone."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.texts_to_clean import CHARACTERS, FRAGMENTS
from steel_megatron._text import Text, suspicious
from steel_megatron.corpus.cleaning.operation import Mapper, build_operation

MESSY = st.lists(st.sampled_from(CHARACTERS + FRAGMENTS) | st.text(max_size=3), max_size=12).map("".join)


def mapped(name: str, text: str, **parameters: object) -> str:
    operation = build_operation(name, parameters)
    assert isinstance(operation, Mapper)
    changed = Text(text)
    operation.apply(changed)
    return str(changed)


@functools.cache
def simplifying() -> tuple[Mapper, Any]:
    """The operation, which takes a while to make, and OpenCC itself."""
    import opencc

    operation = build_operation("chinese_convert_mapper", {"mode": "t2s"})
    assert isinstance(operation, Mapper)
    return operation, opencc.OpenCC("t2s.json")


@given(MESSY)
@settings(max_examples=400, deadline=None)
def test_unicode_is_mended_as_ftfy_does(text: str) -> None:
    ftfy = pytest.importorskip("ftfy")
    text = text.encode("utf-8", "ignore").decode()
    assert mapped("fix_unicode_mapper", text) == ftfy.fix_text(text)


@given(st.text(st.sampled_from("沈默瞭解藉口重覆衹得牴牾不明不白船反漢語汉语著乾坤於是\n x"), max_size=30))
@settings(max_examples=300, deadline=None)
def test_simplified_as_opencc_does(text: str) -> None:
    pytest.importorskip("opencc")
    convert, converter = simplifying()
    changed = Text(text)
    convert.apply(changed)
    assert str(changed) == converter.convert(text)


def test_every_character_of_ftfys_heuristic_is_suspicious() -> None:
    badness = pytest.importorskip("ftfy.badness")
    for name, group in badness.MOJIBAKE_CATEGORIES.items():
        expression = re.compile(f"[{group}]")
        missed = [hex(c) for c in range(0x110000) if expression.match(chr(c)) and not suspicious(c)]
        assert missed == [], name


def test_a_full_width_one_stays_a_one() -> None:
    assert mapped("punctuation_normalization_mapper", "第１，对。") == "第1,对."


@pytest.mark.parametrize(
    "text",
    [
        "#include <stdio.h>\n// license: none\nint x;",
        "#!/bin/sh\n# copyright me\necho",
        "# 标题\n\n正文",
        "# just a comment\nx = 1",
        "## License 许可\n正文",
        "#pragma once\nint x;",
    ],
)
def test_heads_that_mean_something_stay(text: str) -> None:
    assert mapped("clean_copyright_mapper", text) == text


def test_a_copyright_head_goes() -> None:
    assert mapped("clean_copyright_mapper", "# Copyright 2020 A\n# All rights reserved\nimport os\n") == "import os\n"
    assert mapped("clean_copyright_mapper", "// COPYRIGHT A\n\n#include <a.h>\n") == "#include <a.h>\n"
    assert mapped("clean_copyright_mapper", "x\n/* copyright */y") == "x\ny"


def test_rows_of_dots_behind_a_link_come_to_an_end() -> None:
    for text in ("www." + "." * 3000, "http://" + "(" * 3000, "http://(" + "a" * 3000, "a:b" + "!" * 3000):
        assert len(mapped("clean_links_mapper", text)) <= len(text)


def test_white_space_that_is_kept() -> None:
    assert mapped("whitespace_normalization_mapper", "\tif x:\n\t\treturn\u3000y ", keep="\t") == "if x:\n\t\treturn y"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("本报（www.example.com）从郑州获悉，款项已捐出。", "本报（）从郑州获悉，款项已捐出。"),
        ("详见https://example.com/a/b_(c).html。下文另述。", "详见。下文另述。"),
        ("见 example.com/x?y=1&z=2, 另见 a.cn/b", "见 , 另见 "),
        ("宽:50mm，速度3.2km/h，size:50，比分3:1，v1.2.3", "宽:50mm，速度3.2km/h，size:50，比分3:1，v1.2.3"),
    ],
)
def test_a_strict_link_leaves_the_chinese_behind_it(given: str, left: str) -> None:
    assert mapped("clean_links_mapper", given, strict=True) == left
    assert mapped("clean_links_mapper", "本报（www.example.com）从郑州获悉。") == "本报（"


def test_rows_of_dots_behind_a_strict_link_come_to_an_end() -> None:
    for text in ("www." + "." * 3000, "http://" + "(" * 3000, "http://(" + "a" * 3000, "a." * 3000, "a-" * 3000):
        assert len(mapped("clean_links_mapper", text, strict=True)) <= len(text)
