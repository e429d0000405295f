"""Rules for web pages: against plain implementations in Python, and on pages of several kinds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron._text import Text
from steel_megatron.config import ConfigError
from steel_megatron.corpus.cleaning.operation import Filter, Mapper, build_operation

MENU = "首页\n新闻中心\n产品展示\n联系我们\n在线留言\n"
PROSE = "秋天的早晨，山谷里还有一层薄雾，村民们已经在田里收割稻子了。\n孩子们背着书包走过石桥，一路上说说笑笑。\n"
ENDS = set(".!?…。！？．｡;；")
CLOSERS = "\"'”’」』）)】》〉］]｣"
texts = st.text(st.sampled_from("ab好的。！”… -•\n\u3000\r"), max_size=60)


def measured(name: str, text: str, **parameters: Any) -> float:
    operation = build_operation(name, parameters)
    assert isinstance(operation, Filter)
    return operation.measure(Text(text))


def changed(name: str, text: str, **parameters: Any) -> str:
    operation = build_operation(name, parameters)
    assert isinstance(operation, Mapper)
    changing = Text(text)
    operation.apply(changing)
    return str(changing)


def lines_of(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@given(texts)
def test_kinds_of_lines_as_counted_plainly(text: str) -> None:
    lines = lines_of(text)
    ended = [line for line in lines if line.rstrip(CLOSERS)[-1:] in ENDS and line.rstrip(CLOSERS)]
    columns = [sum(2 if "\u3000" <= c <= "\u9fff" or c == "！" else 1 for c in line) for line in lines]
    dotted = [line for line in lines if len(line) > 1 and (line[0] == "•" or (line[0] == "-" and line[1].isspace()))]
    broken = [line for line in lines if line.endswith(("…", "..."))]
    brief = sum(each < 6 for each in columns)
    assert Text(text).line_kinds(6) == [len(lines), sum(map(len, lines)), len(ended), brief, len(dotted), len(broken)]


@given(texts, st.booleans())
def test_repeated_pieces_as_counted_plainly(text: str, paragraphs: bool) -> None:
    pieces: list[tuple[str, ...]] = []
    open_piece: list[str] = []
    for line in [*(line.strip() for line in text.replace("\r\n", "\n").splitlines()), ""]:
        if line:
            open_piece.append(line)
        if open_piece and (not line or not paragraphs):
            pieces.append(tuple(open_piece))
            open_piece = []
    again = [piece for at, piece in enumerate(pieces) if piece in pieces[:at]]
    characters = sum(len("".join(piece)) for piece in pieces)
    shares = Text(text).repeated_pieces(paragraphs)
    assert shares[0] == pytest.approx(len(again) / max(len(pieces), 1))
    assert shares[1] == pytest.approx(sum(len("".join(piece)) for piece in again) / max(characters, 1))


def ngrams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]


@given(st.lists(st.sampled_from(["ab", "c", "DE", "def"]), max_size=40), st.integers(1, 5))
def test_ngrams_as_counted_plainly(words: list[str], n: int) -> None:
    text, lowered = " ".join(words), [word.lower() for word in words]
    total = max(sum(map(len, words)), 1)
    counts = Counter(ngrams(lowered, n))
    most = max(counts.values(), default=0)
    tops = {min(1.0, most * len("".join(ngram)) / total) for ngram, count in counts.items() if count == most}
    assert Text(text).top_ngram(n) in ([0.0] if most < 2 else [pytest.approx(top) for top in tops])
    seen: set[tuple[str, ...]] = set()
    at = repeated = 0
    while at + n <= len(lowered):
        ngram = tuple(lowered[at : at + n])
        if ngram in seen:
            repeated += len("".join(ngram))
            at += n
        else:
            seen.add(ngram)
            at += 1
    assert Text(text).duplicate_ngrams(n) == pytest.approx(min(1.0, repeated / total))


@given(
    texts,
    st.text(
        st.sampled_from("ab好。"),
        min_size=1,
        max_size=4,
    ).map(lambda given: "".join(dict.fromkeys(given))),
)
def test_characters_as_counted_plainly(text: str, wanted: str) -> None:
    assert Text(text).count_of(wanted) == sum(c in wanted for c in text)
    assert Text(text).distinct_of(wanted) == len(set(text) & set(wanted))


@pytest.mark.parametrize(
    ("name", "good", "bad", "parameters"),
    [
        ("repeated_lines_filter", PROSE, PROSE * 2, {}),
        ("repeated_lines_filter", PROSE, f"{PROSE}\n\n{PROSE}", {"unit": "paragraphs", "by": "pieces"}),
        ("sentence_ends_filter", PROSE, MENU, {}),
        ("sentence_ends_filter", "他说：“好。”\n（完。）", "第一章\n第二章", {}),
        ("brief_lines_filter", PROSE, MENU, {}),
        ("bullet_lines_filter", PROSE, "•一\n•二\n•三", {}),
        ("bullet_lines_filter", "-5 度\n*强调*的字", "- 一\n* 二", {}),
        ("ellipsis_lines_filter", PROSE, "震惊……\n据报道...\n", {}),
        ("stop_characters_filter", PROSE, "苹果手机壳 硅胶套 防摔 新款", {}),
        ("symbol_ratio_filter", PROSE, "# 新闻 | 体育 | 娱乐 | 财经", {}),
        ("top_ngram_filter", PROSE, "买一送一" * 20, {"n": 4}),
        ("duplicate_ngrams_filter", PROSE, PROSE * 3, {"n": 10}),
    ],
)
def test_pages_are_told_apart(name: str, good: str, bad: str, parameters: dict[str, Any]) -> None:
    operation = build_operation(name, parameters)
    assert isinstance(operation, Filter)
    assert not operation.judge(Text(good)).why
    assert operation.judge(Text(bad)).why


def test_menus_go_and_short_stanzas_stay() -> None:
    assert changed("navigation_lines_mapper", MENU + "\n" + PROSE + MENU) == PROSE.strip()
    poem = "床前明月光，\n疑是地上霜。\n举头望明月，\n低头思故乡。"
    assert changed("navigation_lines_mapper", poem) == poem
    four = "\n".join(MENU.split("\n")[:4]) + "\n" + PROSE
    assert changed("navigation_lines_mapper", four) == four
    assert changed("navigation_lines_mapper", MENU) == ""


@given(texts)
def test_what_navigation_leaves_is_of_the_text_in_order(text: str) -> None:
    left = changed("navigation_lines_mapper", text, columns=8, fewest=2)
    at = 0
    for line in lines_of(left):
        at = text.index(line, at) + len(line)
    assert changed("navigation_lines_mapper", left, columns=8, fewest=2) == left or lines_of(left) != lines_of(text)


def test_lines_that_sites_add_go() -> None:
    page = f"{PROSE}上一篇：无\n版权所有 © 2020\n{'这一段说到版权所有者的权利，' * 5}\n"
    kept = changed("boilerplate_lines_mapper", page)
    assert "上一篇" not in kept
    assert "版权所有 ©" not in kept
    assert "版权所有者的权利" in kept
    assert changed("boilerplate_lines_mapper", "A\nmy phrase\nB", phrases=["MY PHRASE"]) == "A\nB"
    assert changed("boilerplate_lines_mapper", PROSE) == PROSE


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("repeated_lines_filter", {"unit": "words"}),
        ("repeated_lines_filter", {"by": "lines"}),
        ("top_ngram_filter", {"n": 0}),
        ("navigation_lines_mapper", {"fewest": 0}),
        ("boilerplate_lines_mapper", {"phrases": []}),
        ("boilerplate_lines_mapper", {"phrases": [""]}),
        ("symbol_ratio_filter", {"words": "letters"}),
    ],
)
def test_parameters_that_cannot_be_right(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=name):
        build_operation(name, parameters)
