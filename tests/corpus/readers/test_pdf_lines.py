"""Lines of pages as paragraphs: what is printed on each page, broken words, headings, verse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.corpus.readers.pdf_lines import paragraphs

BOOK = [
    """茶经研究　第一卷
第一章　总论
    茶是一种古老的饮料，起源于中国西南地区，经过数千年的发展，已经成为世
界上最受欢迎的饮品之一。它的制作工艺多种多样，各地的饮茶习俗也不相同，这
反映了不同文化的特点。
    绿茶是不发酵茶，红茶是全发酵茶。乌龙茶介于两者之间，属于半发酵茶，它的
- 1 -""",
    """茶经研究　第一卷
香气浓郁，回味悠长，在福建和广东一带尤为流行，许多人每天都要喝上几杯乌龙茶
才觉得满足。
- 2 -""",
    """茶经研究　第一卷
第二章　水
    泡茶的水以山泉为上，江水为中，井水为下，这是陆羽在书中的评价，后人大多。
    第二段。
- 3 -""",
]


def test_a_chinese_book() -> None:
    assert paragraphs(BOOK).split("\n") == [
        "第一章　总论",
        "茶是一种古老的饮料，起源于中国西南地区，经过数千年的发展，已经成为世界上最受欢迎的饮品之一。"
        "它的制作工艺多种多样，各地的饮茶习俗也不相同，这反映了不同文化的特点。",
        "绿茶是不发酵茶，红茶是全发酵茶。乌龙茶介于两者之间，属于半发酵茶，它的"
        "香气浓郁，回味悠长，在福建和广东一带尤为流行，许多人每天都要喝上几杯乌龙茶才觉得满足。",
        "第二章　水",
        "泡茶的水以山泉为上，江水为中，井水为下，这是陆羽在书中的评价，后人大多。",
        "第二段。",
    ]


def test_words_broken_at_the_end_of_a_line() -> None:
    page = """The process is an old and well-
known one, and fermentation depends on tempera-
ture and on humidity, as every well-known book
about it says. Growers in the north-
east plant other kinds of tea, and they are sold
in many shops.
A new paragraph begins here."""
    assert paragraphs([page]).split("\n") == [
        "The process is an old and well-known one, and fermentation depends on temperature and on humidity, as every "
        "well-known book about it says. Growers in the northeast plant other kinds of tea, and they are sold in many "
        "shops.",
        "A new paragraph begins here.",
    ]


def test_chinese_and_english_are_joined_without_a_blank_between() -> None:
    page = "本文使用 Python 和若干常见的工具处理语料，并与其他常见\nPython 工具做了比较，结果见表一，细节见附录"
    assert paragraphs([page]) == page.replace("\n", "")


@pytest.mark.parametrize("foot", ["第 {} 页", "第{}页 共9页", "{}", "— {} —", "Page {} of 9", "{}/9", "·{}·"])
def test_numbers_of_pages_go(foot: str) -> None:
    pages = [f"第{i}页的正文在这里\n又一行正文\n再一行\n四\n五\n{foot.format(i)}" for i in (1, 2)]
    assert not any(foot.format(i) in paragraphs(pages).split("\n") for i in (1, 2))
    assert paragraphs(pages).count("的正文在这里") == 2


def test_what_stands_on_one_page_or_in_its_midst_stays() -> None:
    assert paragraphs(["一九八四年\n12"]) == "一九八四年\n12"
    pages = [f"甲{i}\n乙{i}\n丙\n丁{i}\n戊{i}" for i in "一二三四五"]
    assert paragraphs(pages).count("丙") == 5


def test_heads_of_left_and_right_pages_and_of_chapters_go() -> None:
    names = "甲乙丙丁戊己庚辛"
    pages = [f"{'书名' if i % 2 else '章名'}\n{name}一\n{name}二\n{name}三\n{name}四" for i, name in enumerate(names)]
    assert "名" not in paragraphs(pages)
    assert paragraphs(pages).split("\n")[:4] == ["甲一", "甲二", "甲三", "甲四"]


def test_verse_and_tables_of_contents_keep_their_lines() -> None:
    verse = "床前明月光，\n疑是地上霜。\n举头望明月，\n低头思故乡。"
    assert paragraphs([verse]) == verse
    contents = "目录\n" + "\n".join(f"第{n}章　茶的种类与产地{'.' * 40} {n}" for n in "123")
    assert paragraphs([contents]) == contents


@given(st.lists(st.text("甲乙 a-b。\n1", max_size=200), max_size=4))
def test_no_character_of_the_midst_is_lost(pages: list[str]) -> None:
    found = paragraphs(pages)
    assert set(found) <= set("".join(pages)) | {"\n", " "}
    lines = [[line for line in page.splitlines() if line.strip()] for page in pages]
    middle = "".join("".join(page[3:-3]) for page in lines)
    assert sum(map(found.count, "甲乙。")) >= sum(map(middle.count, "甲乙。"))
