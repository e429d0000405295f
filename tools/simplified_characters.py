"""Writes csrc/minhash/simplified_table.h: traditional characters and their simplified forms, as OpenCC's t2s has them.

    pip install opencc && python tools/simplified_characters.py

Deduplication compares texts by it, one character at a time. OpenCC itself is needed only here.
"""

from __future__ import annotations

from pathlib import Path

TARGET = Path(__file__).parents[1] / "csrc" / "minhash" / "simplified_table.h"
IDEOGRAPHS = ((0x2E80, 0x2FDF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF))
IN_A_LINE = 50
HEAD = """\
// Traditional characters and, in the same places, their simplified forms: the single characters of OpenCC's t2s
// (https://github.com/BYVoid/OpenCC, Apache 2.0). Written by tools/simplified_characters.py.
#pragma once

namespace minhash {

// clang-format off
"""


def simplified() -> dict[str, str]:
    """Of each character that has a simplified form, that which has none itself."""
    from opencc import OpenCC

    converter = OpenCC("t2s")
    found: dict[str, str] = {}
    for first, last in IDEOGRAPHS:
        for character in map(chr, range(first, last + 1)):
            other = converter.convert(character)
            if other != character and len(other) == 1:
                found[character] = other
    for character, other in found.items():
        while other in found:
            other = found[other]
        found[character] = other
    return found


def header() -> str:
    """The text of the file."""
    table = simplified()
    text = HEAD
    for name, characters in (("kTraditional", "".join(table)), ("kSimplified", "".join(table.values()))):
        lines = [characters[at : at + IN_A_LINE] for at in range(0, len(characters), IN_A_LINE)]
        text += f"constexpr char32_t {name}[] =\n" + "\n".join(f'    U"{line}"' for line in lines) + ";\n"
    return text + "// clang-format on\n\n}  // namespace minhash\n"


if __name__ == "__main__":
    TARGET.write_text(header(), encoding="utf-8")
