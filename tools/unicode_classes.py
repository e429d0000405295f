"""Writes csrc/common/unicode_classes.h: the letters, numbers and blanks of Unicode as ``tokenizers`` knows them.

    python tools/unicode_classes.py

The regular expressions of pre-tokenizers say ``\\p{L}``, ``\\p{N}`` and ``\\s``. What these match depends on the
version of Unicode that a library was made with, so the table is read from the library whose ids ours must equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, pre_tokenizers

TARGET = Path(__file__).parents[1] / "csrc" / "common" / "unicode_classes.h"
CLASSES = {"kLetter": r"\p{L}+", "kNumber": r"\p{N}+", "kBlank": r"\s+"}
HEAD = """\
// Letters, numbers and blanks of Unicode (\\p{L}, \\p{N}, \\s), as the tokenizers library knows them. Written by
// tools/unicode_classes.py.
#pragma once

#include <cstdint>

namespace steel {

enum CharacterClass : uint8_t { kOther, kLetter, kNumber, kBlank };

struct CharacterRange {
  uint32_t first, last;
};

"""


def ranges(pattern: str) -> Iterator[tuple[int, int]]:
    """First and last code point of each run of characters that the pattern matches."""
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    split = pre_tokenizers.Split(Regex(pattern), behavior="removed")
    others = [span for _, span in split.pre_tokenize_str("".join(map(chr, codes)))]
    for (_, start), (stop, _) in zip([(0, 0), *others], [*others, (len(codes), 0)], strict=True):
        begin = start
        for place in range(start, stop):  # a run may reach over the surrogates in the string, never in the table
            if place + 1 == stop or codes[place + 1] != codes[place] + 1:
                yield codes[begin], codes[place]
                begin = place + 1


def header() -> str:
    """The text of the file."""
    text = HEAD
    for name, pattern in CLASSES.items():
        items = [f"{{0x{first:X}, 0x{last:X}}}" for first, last in ranges(pattern)]
        text += f"// clang-format off\nconstexpr CharacterRange {name}Ranges[] = {{\n"
        for at in range(0, len(items), 5):
            text += "    " + ", ".join(items[at : at + 5]) + ",\n"
        text += "};\n// clang-format on\n\n"
    return text + "}  // namespace steel\n"


if __name__ == "__main__":
    TARGET.write_text(header(), encoding="utf-8")
