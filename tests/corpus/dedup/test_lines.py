"""Each line of a file is in one part, wherever the file is cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.corpus.dedup.lines import read_lines
from steel_megatron.corpus.dedup.plan import DedupPart


@pytest.mark.parametrize("content", [b"ab\n\ncdef\ng\n", b"\n\nab\nc", b"abc", b"a\nb\n\n"])
def test_every_cut_gives_every_line_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(content)
    whole = content.split(b"\n")
    for size in range(1, len(content) + 1):
        bounds = [(start, min(start + size, len(content))) for start in range(0, len(content), size)]
        parts = [DedupPart(n, 0, str(path), start, stop, size) for n, (start, stop) in enumerate(bounds)]
        assert [line for part in parts for line in read_lines(part)] == (whole if whole[-1] else whole[:-1])
