"""Shingles and plain text written a second time, plainly, from Unicode's own properties."""

from __future__ import annotations

import re
import unicodedata

IDEOGRAPHS = "CJK UNIFIED|CJK COMPATIBILITY IDEOGRAPH|HIRAGANA|KATAKANA|THAI CHARACTER|LAO|KHMER LETTER|MYANMAR LETTER"


def units(text: str) -> list[str]:
    """Ideographs, and words in small letters."""
    found: list[str] = []
    word = ""
    for character in text:
        folded = unicodedata.normalize("NFKC", character) if "！" <= character <= "～" else character
        if unicodedata.category(character) in ("Cc", "Cf") and not character.isspace():
            continue
        if re.match(IDEOGRAPHS, unicodedata.name(character, "")) and character.isalpha():
            found += [word] * bool(word) + [character]
            word = ""
        elif folded.isalnum():
            word += folded.lower()
        else:
            found += [word] * bool(word)
            word = ""
    return found + [word] * bool(word)


def shingles(text: str, size: int = 5) -> set[tuple[str, ...]]:
    parts = units(text)
    return {tuple(parts[at : at + size]) for at in range(len(parts) - size + 1)}


def jaccard(one: str, two: str) -> float:
    """Zero where neither has a shingle."""
    first, second = shingles(one), shingles(two)
    return len(first & second) / max(len(first | second), 1)
