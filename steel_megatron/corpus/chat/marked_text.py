"""A text some spans of which are control marks, such as a chat template's ``<|im_start|>``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


class Mark(str):
    """A control mark as it is written. The same characters as a plain ``str`` are text that only looks like one."""

    __slots__ = ()


@dataclass(frozen=True)
class Text:
    """Plain pieces and marks in their order."""

    pieces: tuple[str | Mark, ...]

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    @property
    def control(self) -> list[tuple[int, int]]:
        """Start and end of each mark in :attr:`text`, in code points, ascending."""
        spans = []
        at = 0
        for piece in self.pieces:
            if isinstance(piece, Mark):
                spans.append((at, at + len(piece)))
            at += len(piece)
        return spans

    @classmethod
    def of(cls, pieces: Iterable[str | Mark]) -> Text:
        return cls(tuple(piece for piece in pieces if piece))
