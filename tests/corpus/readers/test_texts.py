"""A document a line, or between blank lines, in the encodings that text comes in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.corpus_files import pieces, read_json_lines
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.readers.texts import read_texts

CHINESE = "绿茶要用八十度的水来泡，太热茶就苦。"
ENCODINGS = ["utf-8", "utf-8-sig", "gb18030", "big5", "utf-16", "utf-32"]


def texts(data: bytes, blocks: bool = False, **limits: int) -> list[tuple[int, str]]:
    rows = read_texts(pieces(data, 7), blocks=blocks, **limits)
    return [(row.number, row.value["text"] if row.error is None else row.error.reason) for row in rows]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_is_a_document(encoding: str, end: str) -> None:
    said = CHINESE if encoding != "big5" else "這是一個關於茶的故事，說的是水的溫度。"
    data = end.join([said, "", f"  {said}", "   ", said]).encode(encoding)
    assert texts(data) == [(1, said), (3, f"  {said}"), (5, said)]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_lines_between_blank_ones_are_a_document(encoding: str) -> None:
    said = CHINESE if encoding != "big5" else "這是一個關於茶的故事，說的是水的溫度。"
    data = f"\n\n{said}\n甲乙\n \n\n{said}\n{said}".encode(encoding)
    assert texts(data, blocks=True) == [(3, f"{said}\n甲乙"), (7, f"{said}\n{said}")]


@given(st.lists(st.lists(st.text("甲乙a ", min_size=1).filter(str.strip), min_size=1, max_size=4), max_size=5))
def test_blocks_come_back_as_they_were_joined(blocks: list[list[str]]) -> None:
    joined = ["\n".join(block) for block in blocks]
    assert [text for _, text in texts("\n\n".join(joined).encode(), blocks=True)] == joined


def test_broken_bytes_cost_their_document_alone() -> None:
    lines = [CHINESE.encode()] * 40
    lines[3] += b"\xff"
    lines[5] += b"\0"
    found = texts(b"\n".join(lines))
    assert [reason for _, reason in found if reason != CHINESE] == ["bad_encoding", "binary"]
    assert found[3] == (4, "bad_encoding")
    wide = "\n".join([CHINESE, "half", CHINESE]).encode("utf-16-le").replace("h".encode("utf-16-le"), b"\x00\xd8")
    assert texts(b"\xff\xfe" + wide) == [(1, CHINESE), (2, "bad_encoding"), (3, CHINESE)]


def test_a_document_without_an_end_is_not_held_whole() -> None:
    data = b"short\n\n" + b"\n".join([b"x" * 10] * 100) + b"\n\n" + b"y" * 100 + b"\n\nend"
    assert texts(data, blocks=True, max_record_bytes=50) == [
        (1, "short"),
        (3, "too_long"),
        (104, "too_long"),
        (106, "end"),
    ]
    assert [reason for _, reason in texts(data, max_record_bytes=50)].count("too_long") == 1


def test_what_is_no_text_is_one_reject() -> None:
    assert texts(b"") == []
    assert texts(bytes(range(128, 256)) * 40)[0][1] == "bad_encoding"


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_a_large_file_is_cut_and_comes_out_the_same(encoding: str, tmp_path: Path) -> None:
    lines = [f"第{i}行：{CHINESE}" for i in range(300)]
    (tmp_path / "a.txt").write_bytes("\n".join(lines).encode(encoding))
    for number, part_bytes in enumerate((500, 1 << 20)):
        convert_corpus("text_lines", [tmp_path], tmp_path / f"{number}.jsonl", part_bytes=part_bytes)
    documents = read_json_lines(tmp_path / "0.jsonl")
    assert documents == read_json_lines(tmp_path / "1.jsonl")
    assert [document["text"] for document in documents] == lines
    assert documents[17]["id"] == "a.txt:18"


def test_files_of_blocks_and_packed_ones(tmp_path: Path) -> None:
    import gzip

    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(f"题\n{CHINESE}\n\n题二\n{CHINESE}\n".encode("gb18030")))
    done = convert_corpus("text_blocks", [tmp_path], tmp_path / "out.jsonl")
    assert done.manifest.documents == 2
    assert [document["text"] for document in read_json_lines(tmp_path / "out.jsonl")] == [
        f"题\n{CHINESE}",
        f"题二\n{CHINESE}",
    ]
