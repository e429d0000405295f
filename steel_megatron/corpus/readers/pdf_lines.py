"""The lines of a PDF's pages as paragraphs: what is printed on every page goes, broken sentences and words are joined.

A PDF holds lines, not sentences. A line that reaches about as far as most do goes on in the next; of a shorter one the
paragraph ends.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence

_EDGE = 2  # lines at the top and at the bottom of a page that may be its head or foot
_TIMES, _WITHIN = 3, 6  # as often, within so many pages, the same line is no text of the author
_FULL = 0.8  # of the usual width: a line that goes on
_NARROW = 30  # columns; of lines all shorter, each stands alone (verse, tables, forms)
_NUMBER = re.compile(
    r"\W*(?:(?:第|page|p\.)\s*)?(?:\d{1,4}|[ivxlc]{1,7})\s*页?(?:\W*(?:/|of|共)\s*\d{1,4}\s*页?)?\W*", re.IGNORECASE
)
_ENDS_SENTENCE = re.compile(r"[。！？!?；;：:….][”’\"'』」）)\]]*$")
_BEGINS_BLOCK = re.compile(
    r"[ \u3000]{2,}|第[一二三四五六七八九十百千零〇\d]+[章节条篇部编]|[（(]?[一二三四五六七八九十]+[、）)]"
    r"|[（(]?\d{1,3}(?:[、）)]|[.．]\s|(?:\.\d{1,3})+[.．]?\s)|[•●■◆▪○*–—-]\s|[A-Z]\.\s"
)
_LEADERS = re.compile(r"(?:\.{4,}|…{2,}|·{4,})\s*\d*\s*$")  # of a table of contents
_HYPHEN = re.compile(r"([A-Za-z]+)[-\u2010\u00ad]$")
_FIRST_WORD = re.compile(r"[a-z]+")


def paragraphs(pages: Sequence[str]) -> str:
    """The text of the pages, a paragraph a line."""
    lines = [line for page in _without_edges([_lines(page) for page in pages]) for line in page]
    widths = sorted(map(_width, filter(None, lines)))
    usual = widths[int(0.9 * (len(widths) - 1))] if widths else 0
    if usual < _NARROW:
        return "\n".join(line.strip() for line in lines if line)
    words = set(re.findall(r"[A-Za-z]+(?:-[A-Za-z]+)*", " ".join(lines)))
    return "\n".join(_joined(lines, usual, words))


def _lines(page: str) -> list[str]:
    return [line.rstrip() for line in page.splitlines()]


def _joined(lines: Sequence[str], usual: int, words: set[str]) -> Iterator[str]:
    paragraph, last = "", ""
    for line in lines:
        if paragraph and (not line or _ends(last, line, usual)):
            yield paragraph
            paragraph = ""
        if line:
            paragraph = _put_together(paragraph, line.strip(), words) if paragraph else line.strip()
            last = line
    if paragraph:
        yield paragraph


def _ends(last: str, line: str, usual: int) -> bool:
    """Whether the paragraph ends with the last line."""
    if _LEADERS.search(last) or _LEADERS.search(line):
        return True
    if _HYPHEN.search(last) and _FIRST_WORD.match(line.strip()):
        return False
    if _width(last) < _FULL * usual:
        return bool(_ENDS_SENTENCE.search(last)) or not _FIRST_WORD.match(line.strip())
    return bool(_ENDS_SENTENCE.search(last) and _BEGINS_BLOCK.match(line))


def _put_together(before: str, line: str, words: set[str]) -> str:
    broken, rest = _HYPHEN.search(before), _FIRST_WORD.match(line)
    if broken and rest:
        # Only where the text has the word with its hyphen elsewhere, and never without, does the hyphen stay.
        whole, hyphened = broken[1] + rest[0], f"{broken[1]}-{rest[0]}"
        return before[:-1] + ("-" if hyphened in words and whole not in words else "") + line
    return before + ("" if _is_wide(before[-1]) or _is_wide(line[0]) else " ") + line


def _without_edges(pages: list[list[str]]) -> Iterator[list[str]]:
    """The pages without heads, feet and page numbers."""
    places = [_edges(page) for page in pages]
    seen: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for number, (page, (top, bottom)) in enumerate(zip(pages, places, strict=True)):
        for is_top, at in [(True, at) for at in top] + [(False, at) for at in bottom]:
            seen[is_top, _key(page[at])].append(number)
    again = {
        key
        for key, numbers in seen.items()
        if any(late - early < _WITHIN for early, late in zip(numbers, numbers[_TIMES - 1 :], strict=False))
    }
    for page, (top, bottom) in zip(pages, places, strict=True):
        gone = {at for at in top if (True, _key(page[at])) in again}
        gone |= {at for at in bottom if (False, _key(page[at])) in again}
        gone |= {at for at in {*top[:1], *bottom[-1:]} if len(pages) > 1 and _NUMBER.fullmatch(page[at])}
        yield [line for at, line in enumerate(page) if at not in gone]


def _edges(page: list[str]) -> tuple[list[int], list[int]]:
    """Places of the first and the last lines that are not blank; none of a page that has little else."""
    filled = [at for at, line in enumerate(page) if line.strip()]
    return (filled[:_EDGE], filled[-_EDGE:]) if len(filled) > 2 * _EDGE else (filled[:1], filled[-1:])


def _key(line: str) -> str:
    return re.sub(r"\d+", "#", "".join(line.split()))


def _width(line: str) -> int:
    """Columns, an ideograph taking two."""
    return len(line) + sum(map(_is_wide, line))


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"
