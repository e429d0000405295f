"""What shingles are made of, compared with a second writing of it in plain Python."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.shingle_reference import shingles, units
from steel_megatron._minhash import grams, plain_texts, simplified

LETTERS = (
    "abzAZ09éÀЖя中文字龥㐀𠀀ひカー・เก"
    + "，。！？「」（）、；：…—"
    + " \t\n\r\u3000\u00a0"
    + "\u200b\ufeff\u00ad\x00"
    + "ＡｂＺ０９！＃～"
    + "😀$€+-_.,"
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("中文，Python 3.11 好", ["中", "文", "python", "3", "11", "好"]),
        ("ＡＢＣ abc", ["abc", "abc"]),
        ("na\u00adive\u200bté", ["naiveté"]),
        ("ÀÉ ЖЯ ΑΩ", ["àé", "жя", "αω"]),
        ("カタカナ・ひらがな", list("カタカナひらがな")),
        ("한국어 문장", ["한국어", "문장"]),
        ("！？…", []),
    ],
)
def test_units_are_ideographs_and_words(text: str, expected: list[str]) -> None:
    assert units(text) == expected  # the reference itself
    assert len(grams(text, 1)) == len(expected)
    same = "。".join(expected)  # any sign between units, no other spelling
    assert grams(same, 1).tolist() == grams(text, 1).tolist()


@given(st.text(LETTERS, max_size=60), st.integers(1, 9))
def test_as_many_distinct_shingles_as_the_reference_finds(text: str, size: int) -> None:
    assert len(grams(text, size)) == max(len(units(text)) - size + 1, 0)
    assert len(np.unique(grams(text, size))) == len(shingles(text, size))


@given(st.text(LETTERS, max_size=30), st.text(LETTERS, max_size=30))
def test_shingles_are_shared_where_the_reference_shares_them(one: str, two: str) -> None:
    shared = np.intersect1d(grams(one, 2), grams(two, 2))
    assert len(shared) == len(shingles(one, 2) & shingles(two, 2))


@pytest.mark.parametrize(
    ("traditional", "simplified"),
    [("漢語裏說的後來", "汉语里说的后来"), ("臺灣與爲衛裡説", "台湾与为卫里说"), ("薴", "苎"), ("𧝞", "䘛")],
)
def test_traditional_characters_count_as_simplified_ones(traditional: str, simplified: str) -> None:
    assert grams(traditional, 1).tolist() == grams(simplified, 1).tolist()
    assert plain_texts([traditional])[0].tobytes() != plain_texts([simplified])[0].tobytes()


def test_the_table_of_simplified_characters_is_what_its_tool_writes() -> None:
    pytest.importorskip("opencc")
    path = Path(__file__).parents[3] / "tools" / "simplified_characters.py"
    spec = importlib.util.spec_from_file_location("simplified_characters", path)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    table = tool.simplified()
    assert len(table) > 4000
    assert not set(table.values()) & set(table)
    written = tool.TARGET.read_text(encoding="utf-8")
    assert all(known in written for known in "漢汉龍龙")  # OpenCC's next versions know more
    for traditional in "漢龍鄉髮㑮𧝞":
        assert simplified(ord(traditional)) == ord(table[traditional])
    assert all(simplified(ord(character)) == ord(character) for character in "汉一あx鿕𠀀")


def test_a_shingle_does_not_depend_on_what_came_before() -> None:
    assert grams("一二三四五六七", 5)[-1] == grams("三四五六七", 5)[0]
    assert grams("一二三四五", 5)[0] != grams("五四三二一", 5)[0]


@pytest.mark.parametrize("filler", ["é", "中", "𠀀"])
def test_strings_of_every_width_are_read_alike(filler: str) -> None:
    assert grams("abc def ghi", 2).tolist() == grams(f"abc def ghi {filler}", 2)[:2].tolist()


@given(st.lists(st.text(LETTERS, max_size=20), max_size=5))
def test_plain_text_is_the_text_without_layout(texts: list[str]) -> None:
    joined, ends = plain_texts(texts)
    starts = [0, *ends.tolist()]
    for text, start, end in zip(texts, starts, ends.tolist(), strict=False):
        visible = "".join(c for c in text if c not in "\u200b\ufeff\u00ad\x00")
        assert joined[start:end].tobytes().decode() == " ".join(visible.split())


def test_no_string_no_result() -> None:
    with pytest.raises(TypeError):
        plain_texts([b"bytes"])  # type: ignore[list-item]  # what the test is about
