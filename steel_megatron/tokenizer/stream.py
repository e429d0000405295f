"""Text of tokens that come one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class TextStream:
    """Turns tokens into text piece by piece; the pieces joined are the text of all of them.

    A character may be spread over several tokens, and a token's text may depend on the one before it (a leading blank).
    So a piece is held back until it ends in whole characters, and is decoded together with the piece before it.

    Args:
        decode: ids → text; bytes that are not yet a character come out as U+FFFD.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._before = 0  # where the piece before the held one begins
        self._told = 0  # tokens whose text was given out

    def add(self, token: int) -> str:
        """The text that the token completes; empty while a character is not whole."""
        self._ids.append(token)
        text = self._held()
        if not text or text.endswith("\ufffd"):
            return ""
        self._before, self._told = self._told, len(self._ids)
        return text

    def end(self) -> str:
        """What was held back to the end: broken characters."""
        text = self._held()
        self._before = self._told = len(self._ids)
        return text

    def _held(self) -> str:
        known = self._decode(self._ids[self._before : self._told])
        return self._decode(self._ids[self._before :])[len(known) :]
