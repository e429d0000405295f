"""What a file holds, told from its first bytes."""

from __future__ import annotations

import pytest

from steel_megatron.corpus.corpus import Kind
from steel_megatron.corpus.readers.recognise import is_table, recognise, settle


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b'{"text": "x"}\n', Kind.JSON_LINES),
        (b'\xef\xbb\xbf\n {"text": "x"}', Kind.JSON_LINES),
        (b'broken line\n{"text": "x"}\n', Kind.JSON_LINES),
        (b'[{"a": 1}]', Kind.JSON_ARRAY),
        (b"\xef\xbb\xbf\n[\n  {", Kind.JSON_ARRAY),
        (b"[]", Kind.JSON_ARRAY),
        (b"[a link](there) and text", Kind.TEXT),
        ("标题\n正文 {不是} JSON".encode(), Kind.TEXT),
        (b"PAR1\x15\x04", Kind.PARQUET),
        (b"\x7fELF\0\0", None),
        ("文".encode("utf-16"), Kind.TEXT),
        ("ab".encode("utf-16"), Kind.TEXT),
        (b'{\n  "a": 1\n}\n', Kind.JSON_OBJECTS),
        (b"%PDF-1.7\n", Kind.PDF),
        (b"a,b\n1,2\n3,4\n", Kind.TEXT),
    ],
)
def test_recognise(head: bytes, kind: Kind | None) -> None:
    assert recognise(head) is kind


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("题,答\n一,二\n三,四\n", "x", Kind.CSV),
        ("题\t答\n一\t二\n三\t四\n", "x.txt", Kind.CSV),
        ("建议\n多放一些方言\n", "x.csv", Kind.CSV),
        ("建议\n多放一些方言\n", "x.txt", Kind.TEXT),
        ("Dear all,\nthis is prose, with commas, here.\nAnd no more.\nYours,\nme\n", "x.txt", Kind.TEXT),
        ('{"not": "a record here"}\n', "x.txt", Kind.TEXT),
    ],
)
def test_a_table_is_told_from_prose(text: str, name: str, kind: Kind) -> None:
    head = text.encode()
    assert settle(recognise(head), head, name, (Kind.TEXT, Kind.CSV)) is kind
    assert settle(recognise(b'{"a": 1}\n'), b'{"a": 1}\n', "x.csv", (Kind.CSV,)) is None
    assert is_table(text.encode("gb18030"), name) is (kind is Kind.CSV)
