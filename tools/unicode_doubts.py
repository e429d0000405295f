"""Writes csrc/bpe/unicode_doubts.h: the code points that an encoder leaves to the libraries that it must equal.

    python tools/unicode_doubts.py

``tokenizers`` and ``tiktoken`` match ``\\p{L}``, ``\\p{N}`` and ``\\s`` by the Unicode version that each was made with.
A code point is in doubt where they and the ``regex`` package differ, or where the newest of their versions has
assigned nothing: its class may be another one with the next release of a library.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import regex
import tiktoken
from tokenizers import Regex, pre_tokenizers

TARGET = Path(__file__).parents[1] / "csrc" / "bpe" / "unicode_doubts.h"
POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
PATTERNS = (r"\p{L}", r"\p{N}", r"\s")
STRETCH = 4096  # code points matched at once
HEAD = """\
// Written by tools/unicode_doubts.py.
#pragma once

#include "common/unicode_classes.h"

namespace bpe {

"""
LISTS = {
    "kDoubtful": "Libraries, or the next versions of one, may see other classes.",
    "kUnsettled": "NFC changes them, or they may combine or change places with a neighbour.",
}


def matched(find: Callable[[str, str], str], pattern: str) -> set[int]:
    """The code points that a library's pattern matches."""
    found: set[int] = set()
    for start in range(0, len(POINTS), STRETCH):
        found.update(map(ord, find(pattern, "".join(map(chr, POINTS[start : start + STRETCH])))))
    return found


def by_regex(pattern: str, text: str) -> str:
    return "".join(regex.findall(pattern, text))


def by_tiktoken(pattern: str, text: str) -> str:
    single = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("bytes", pat_str=pattern, mergeable_ranks=single, special_tokens={})
    return bytes(encoding.encode_ordinary(text)).decode("utf-8")  # what does not match gives no token


def by_tokenizers(pattern: str, text: str) -> str:
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    return "".join(piece for piece, _ in split.pre_tokenize_str(text))


def doubtful() -> set[int]:
    found = matched(by_regex, r"\p{Cn}")
    for pattern in PATTERNS:
        first, *others = (matched(find, pattern) for find in (by_tokenizers, by_tiktoken, by_regex))
        for other in others:
            found |= first ^ other
    return found


def unsettled() -> set[int]:
    """What Python's tables do not know is taken to be so: normal forms of assigned characters never change."""
    seconds = set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))  # of Hangul syllables, which are composed by rule
    for c in POINTS:
        parts = unicodedata.decomposition(chr(c)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            seconds.add(int(parts[1], 16))
    moved = (c for c in POINTS if unicodedata.combining(chr(c)) or unicodedata.normalize("NFC", chr(c)) != chr(c))
    unknown = (c for c in POINTS if unicodedata.category(chr(c)) == "Cn")
    return seconds | set(moved) | set(unknown)


def ranges(points: Iterable[int]) -> Iterator[str]:
    """``{first, last}`` of each run of code points."""
    run: list[int] = []
    for c in sorted(points):
        if run and c != run[-1] + 1:
            yield f"{{0x{run[0]:X}, 0x{run[-1]:X}}}"
            run = []
        run.append(c)
    yield f"{{0x{run[0]:X}, 0x{run[-1]:X}}}"


def main() -> None:
    """Writes the header."""
    text = HEAD
    for (name, comment), points in zip(LISTS.items(), (doubtful(), unsettled()), strict=True):
        items = list(ranges(points))
        text += f"// {comment}\n// clang-format off\nconstexpr steel::CharacterRange {name}[] = {{\n"
        for at in range(0, len(items), 5):
            text += "    " + ", ".join(items[at : at + 5]) + ",\n"
        text += "};\n// clang-format on\n\n"
    TARGET.write_text(text + "}  // namespace bpe\n", encoding="utf-8")


if __name__ == "__main__":
    main()
