"""Each line of a file is in one part, wherever the file is cut."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.config import DataError
from steel_megatron.corpus.dedup import DedupSettings, SourceInput, deduplicate
from steel_megatron.corpus.dedup.lines import read_lines
from steel_megatron.jobs.parts import InputFile, line_parts, whole_file


@pytest.mark.parametrize("content", [b"ab\n\ncdef\ng\n", b"\n\nab\nc", b"abc", b"a\nb\n\n"])
def test_every_cut_gives_every_line_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(content)
    whole = content.split(b"\n")
    uncut = whole_file(InputFile(str(path), "lines", len(content), ""))
    for size in range(1, len(content) + 1):
        starts = list(range(0, len(content), size))
        for earlier in ([], starts):
            parts = line_parts(uncut, size, earlier)
            assert not earlier or len(parts) == len(starts)
            assert [line for part in parts for line in read_lines(part)] == (whole if whole[-1] else whole[:-1])
            for start, part in zip(earlier, parts, strict=False):  # as version 0.1.0 shared the lines out
                begins = [
                    at for at in range(start, min(start + size, len(content))) if content[:at][-1:] in (b"", b"\n")
                ]
                assert len(list(read_lines(part))) == len(begins)


def test_a_broken_first_line_costs_that_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'broken\n{"text": "one"}\n\xef\xbb\xbf{"text": "two"}\n{"text": "t\0"}\n')
    (tmp_path / "b.jsonl").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    settings = DedupSettings(exact_only=True)
    done = deduplicate([SourceInput("s", str(tmp_path))], tmp_path.with_name("lines_out"), settings=settings)
    assert {key: done.report["sources"]["s"][key] for key in ("kept", "invalid")} == {"kept": 2, "invalid": 3}
    (tmp_path / "c.jsonl").write_bytes(b'[{"text": "one"}]')
    with pytest.raises(DataError, match=r"c\.jsonl holds no JSON object a line"):
        deduplicate([SourceInput("s", str(tmp_path))], tmp_path.with_name("lines_other"))
