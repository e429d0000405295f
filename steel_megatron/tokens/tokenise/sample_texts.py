"""Texts of JSON lines in a stream, up to a limit that every file has its share of."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from steel_megatron.jobs.files import state_of
from steel_megatron.tokens.tokenise.inputs import InputFile
from steel_megatron.tokens.tokenise.records import RejectedLineError, texts_of


class TextSample:
    """The texts from the head of each file; lines that are no record are counted and passed over.

    Args:
        key: field that holds the text.
        max_bytes: UTF-8 bytes of text in all; a file gives up to its share by size on disk, and at least one text.
            None takes everything.
    """

    def __init__(self, files: Sequence[str | os.PathLike[str]], key: str, max_bytes: int | None = None) -> None:
        self._files = [os.fspath(file) for file in files]
        self._key = key
        self._max_bytes = max_bytes
        self.documents = self.text_bytes = 0
        self.rejects: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        sizes = [state_of(file).bytes for file in self._files]
        total = sum(sizes) if self._max_bytes is None else min(self._max_bytes, sum(sizes))
        with tqdm(total=total, desc="read text", unit="B", unit_scale=True, disable=None) as bar:
            for file, size in zip(self._files, sizes, strict=True):
                share = None if self._max_bytes is None else self._max_bytes * size / max(sum(sizes), 1)
                taken = 0
                for text in self._texts(file):
                    length = len(text.encode("utf-8"))
                    taken += length
                    self.documents += 1
                    self.text_bytes += length
                    bar.update(length)
                    yield text
                    if share is not None and taken >= share:
                        break

    def summary(self) -> str:
        """One line on what was read."""
        line = f"read {self.documents:,} texts, {self.text_bytes / 1e6:,.1f} MB, from {len(self._files):,} files"
        if self.rejects:
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in self.rejects.most_common())
            line += f"; passed over {sum(self.rejects.values()):,} lines: {reasons}"
        return line

    def _texts(self, file: str) -> Iterator[str]:
        for block in InputFile(file).blocks():
            for line in block.data.split(b"\n"):
                if line.strip():
                    try:
                        yield texts_of(line, [self._key])[0]
                    except RejectedLineError as error:
                        self.rejects[error.reason] += 1
