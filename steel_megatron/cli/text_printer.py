"""Printing of generated texts while they grow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TextIO

from steel_megatron.tokenizer.stream import TextStream


class TextPrinter:
    """Writes texts as their tokens come; with several rows one after the other, each as soon as it can stand alone.

    The first row that is not finished is written as it comes; the others wait for their turn.
    """

    def __init__(
        self, prompts: Sequence[str], decode: Callable[[Sequence[int]], str], stop_ids: Collection[int], out: TextIO
    ) -> None:
        self._prompts = prompts
        self._streams = [TextStream(decode) for _ in prompts]
        self._stop_ids = stop_ids
        self._waiting = ["" for _ in prompts]
        self._finished = [False for _ in prompts]
        self._out = out
        self._row = -1
        self._next()

    def add(self, row: int, token: int) -> None:
        """Takes a row's next token."""
        if token in self._stop_ids:
            self._finished[row] = True
        else:
            self._waiting[row] += self._streams[row].add(token)
        self._write()

    def end(self) -> None:
        """Writes what is left."""
        for row, stream in enumerate(self._streams):
            self._waiting[row] += stream.end()
            self._finished[row] = True
        self._write()

    def _write(self) -> None:
        while self._row < len(self._prompts):
            self._out.write(self._waiting[self._row])
            self._waiting[self._row] = ""
            if not self._finished[self._row]:
                break
            self._out.write("\n")
            self._next()
        self._out.flush()

    def _next(self) -> None:
        self._row += 1
        if self._row < len(self._prompts):
            if len(self._prompts) > 1:
                self._out.write(f"--- {self._row + 1} of {len(self._prompts)} ---\n")
            self._out.write(self._prompts[self._row])
