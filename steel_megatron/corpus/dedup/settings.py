"""What counts as a duplicate, and in which order documents are kept."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from steel_megatron._minhash import PERMUTATIONS
from steel_megatron.config import ConfigError, nearest

Against = Literal["kept", "any"]

# A name is a folder of the output.
_NAME = re.compile(r"[\w][\w.+-]*")


@dataclass(frozen=True)
class SourceInput:
    """``NAME=FILE``: a name and a file, folder or glob pattern."""

    name: str
    pattern: str

    @classmethod
    def parse(cls, given: str, flag: str) -> SourceInput:
        """
        Raises:
            ConfigError: it has no name, or one that is no file name.
        """
        name, equals, pattern = given.partition("=")
        if not equals or not pattern or not _NAME.fullmatch(name) or name.endswith(".zst"):
            raise ConfigError(
                f"{flag} {given}",
                rule="it is NAME=FILE, NAME=FOLDER or NAME=PATTERN; the name is of letters, digits, . _ + -",
                fix=f"for example {flag} web=converted/web.jsonl.zst",
            )
        return cls(name, pattern)


@dataclass(frozen=True)
class DedupSettings:
    """
    Args:
        threshold: least estimated Jaccard similarity of two documents' shingles that makes them near duplicates.
        against: the document that another must be near to in order to fall: one that is ``kept``, or ``any``, so that
            chains of near duplicates fall together.
        exact_only: near duplicates are not looked for.
        overlap_units: length of the n-grams by which texts of evaluation sets are found, in units.
        overlap_share: part of an item's n-grams that a document must have to count as contaminated.
    """

    threshold: float = 0.75
    against: Against = "kept"
    exact_only: bool = False
    overlap_units: int = 8
    overlap_share: float = 0.7

    def __post_init__(self) -> None:
        if not 0.5 <= self.threshold <= 1:
            raise ConfigError(
                f"--threshold {self.threshold}", rule="it is from 0.5 to 1: below, too few of the pairs are met"
            )
        if self.against not in get_args(Against):
            raise ConfigError(f"--against {self.against}", rule=f"it is one of {', '.join(get_args(Against))}")
        if not 0 < self.overlap_share <= 1:
            raise ConfigError(f"--contamination-share {self.overlap_share}", rule="it is above 0 and at most 1")

    @property
    def least_agreeing(self) -> int:
        """How many of the minima of two signatures agree at least when their documents are near duplicates."""
        return math.ceil(self.threshold * PERMUTATIONS)


def in_priority(inputs: Sequence[SourceInput], priority: Sequence[str]) -> list[SourceInput]:
    """The inputs in the order in which their documents are kept: those of ``priority`` first, the rest as given.

    Raises:
        ConfigError: the priority names what is no input, or names one twice.
    """
    names = list(dict.fromkeys(source.name for source in inputs))
    for name in priority:
        if name not in names:
            raise ConfigError(
                f"--priority names {name!r}",
                rule=f"inputs are {', '.join(names)}",
                fix=nearest(name, names) or "give it an --input, or leave it out",
            )
    if len(set(priority)) != len(priority):
        raise ConfigError(f"--priority {','.join(priority)}", rule="it names each input once")
    order = [*priority, *(name for name in names if name not in priority)]
    return sorted(inputs, key=lambda source: order.index(source.name))
