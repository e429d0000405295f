"""What a file is whose name says JSON lines: told by its first bytes, and nothing is said of good ones."""

from __future__ import annotations

import pickle
import random

import pytest

from steel_megatron.jobs.suspects import EMPTY, suspicion


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"", EMPTY),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b" \n<!DOCTYPE html><html>", "HTML"),
        (b"<?XML version='1.0'?>", "HTML or XML"),
        (bytes(512), "begins with zeros"),
        ('{"a": 1}'.encode("utf-16"), "UTF-16"),
        ('{"a": 1}'.encode("utf-16-le"), "without a mark"),
        ('[{"a": 1}]'.encode("utf-16-be"), "without a mark"),
        (b'{"a": 1}\n', ""),
        (b"<htmlish>", "begins with no record: <htmlish>"),
        (bytes(511) + b"{", ""),
        (b'\xef\xbb\xbf{"a": 1}', ""),
        (b'{"a": "<html>"}', ""),
        (b"7z\xbc\xaf\x27\x1c\0\4", "packed as .7z"),
        (b"PAR1\x15\x04", "Parquet: steel convert"),
        (b"PK\x03\x04\x14", "zip archive: steel convert"),
        (b"a.txt".ljust(257, b"\0") + b"ustar\0", "tar archive: steel convert"),
        (b'[\n {"a": 1}', "one JSON array: steel convert"),
        (b'{\n  "a": 1\n}\n', "over several lines: steel convert"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (b"SQLite format 3\0", "database"),
        (pickle.dumps([{"a": 1}]), "pickle"),
        (pickle.dumps([{"a": 1}], protocol=2), "pickle"),
        (random.Random(3).randbytes(500) + b"\n", "binary"),
        (b"Access denied.\n", "begins with no record: Access denied."),
        (b'{"error": "Not found", "code": 404}', "error message"),
        (b'{"message": "a record"}\n{"message": "another"}\n', ""),
        (b'{"a": 1}\r{"a": 2}\r', "old Macs"),
        (b'{"a": 1}\r\n{"a": 2}\r\n', ""),
        (b'{"a": 1} {"a": 2}\n', "several objects in a line"),
        (b'{"a": 1},\n{"a": 2}\n', "comma behind each record"),
        (b'\x1e{"a": 1}\n', "record separator"),
        ('{"a": "简体中文"}\n'.encode("gb18030"), "GB18030"),
        ('{"a": "繁體中文"}\n'.encode("utf-32-le"), "UTF-32"),
        ('{"a": "café à Noël"}\n'.encode("latin-1"), "Latin-1"),
        (b"\xd3\x11\n" + '{"a": "简体"}\n'.encode(), ""),  # a damaged head costs its line
        (('{"a": "' + "字" * 2000).encode()[:4096], ""),  # one long line, cut within a character
    ],
)
def test_suspicion(head: bytes, says: str) -> None:
    found = suspicion(head)
    assert says in found
    assert bool(found) is bool(says)


@pytest.mark.parametrize("head", [b"PAR1\x15\x04", b'[{"a": 1}', b'{\n  "a": 1\n}', b"PK\x03\x04"])
def test_what_convert_reads_is_not_odd_to_it(head: bytes) -> None:
    assert suspicion(head, lines_only=False) == ""
