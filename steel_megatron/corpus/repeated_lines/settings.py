"""Which lines are repeated ones, and how a text is cut into them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from steel_megatron.config import ConfigError

Unit = Literal["line", "paragraph"]
MARK = "<|"  # of a chat template: its lines are the same in all conversations, and stay
_BLANK_LINE = re.compile(r"\n[^\S\n]*\n")


@dataclass(frozen=True)
class LineSettings:
    """
    Args:
        in_documents: a line that as many documents of a source have is left out of all of them.
        shortest: characters of the shortest line that is counted.
        unit: ``line``, or ``paragraph`` for what stands between blank lines.
    """

    in_documents: int = 10
    shortest: int = 1
    unit: Unit = "line"

    def __post_init__(self) -> None:
        if self.in_documents < 2:
            raise ConfigError(f"--in-documents {self.in_documents}", rule="it is 2 or more")
        if self.shortest < 1:
            raise ConfigError(f"--shortest {self.shortest}", rule="it is 1 or more")
        if self.unit not in get_args(Unit):
            raise ConfigError(f"--unit {self.unit}", rule=f"it is one of {', '.join(get_args(Unit))}")

    def cut(self, text: str) -> list[str]:
        return text.split("\n") if self.unit == "line" else _BLANK_LINE.split(text)

    def join(self, lines: list[str]) -> str:
        return ("\n" if self.unit == "line" else "\n\n").join(lines)

    def key(self, line: str) -> bytes:
        """What a line is compared by: without white space at its ends. Empty where it is not counted."""
        stripped = line.strip()
        if len(stripped) < self.shortest or MARK in stripped:
            return b""
        return stripped.encode("utf-8", "surrogatepass")
