"""Ranges of a run's samples as they are written: ``FROM:TO``, with FROM and without TO."""

from __future__ import annotations

import re
from collections.abc import Iterable

from steel_megatron.config.errors import ConfigError

Ranges = tuple[tuple[int, int], ...]  # first and one past the last, ascending, apart from one another

_RANGE = re.compile(r"(\d+):(\d+)")


def parse_ranges(words: Iterable[str], flag: str = "--skip-samples") -> Ranges:
    """The samples of all words together.

    Raises:
        ConfigError: a word is no range, or an empty one.
    """
    found = []
    for word in words:
        match = _RANGE.fullmatch(word.strip().replace("_", ""))
        if match is None or int(match[1]) >= int(match[2]):
            raise ConfigError(
                f"{flag} {word}",
                rule="FROM:TO, two whole numbers: the first sample that is left out, and the first behind it that is "
                "used again",
                fix='for example --skip-samples 4096:5120, in YAML in quotes: ["4096:5120"]',
            )
        found.append((int(match[1]), int(match[2])))
    return joined(found)


def joined(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Overlapping and touching ranges as one."""
    apart: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if apart and first <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(apart[-1][1], last))
        else:
            apart.append((first, last))
    return tuple(apart)


def written(ranges: Iterable[tuple[int, int]]) -> list[str]:
    """The words that :func:`parse_ranges` reads."""
    return [f"{first}:{last}" for first, last in ranges]
