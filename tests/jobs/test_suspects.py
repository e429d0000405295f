"""What a file is whose name says JSON lines: told by its first bytes, and nothing is said of good ones."""

from __future__ import annotations

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
        (b"<htmlish>", ""),
        (bytes(511) + b"{", ""),
        (b'\xef\xbb\xbf{"a": 1}', ""),
        (b'{"a": "<html>"}', ""),
    ],
)
def test_suspicion(head: bytes, says: str) -> None:
    found = suspicion(head)
    assert says in found
    assert bool(found) is bool(says)
