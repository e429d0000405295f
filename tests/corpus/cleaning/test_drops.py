"""Drops beside an output: read back by operation, also as the first version wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from steel_megatron.config import DataError
from steel_megatron.corpus.cleaning.drops import read_drops
from steel_megatron.jobs.packed import open_packed

DROPS = [{"operation": "a", "content": "1"}, {"operation": "b", "text": "2"}, {"operation": "a", "content": "3"}]


def test_by_operation_and_by_either_name(tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    path = tmp_path / "out.jsonl.drops.jsonl.zst"
    with open_packed(path, "zst") as file:
        file.write(b"".join(json.dumps(drop).encode() + b"\n" for drop in DROPS))
    assert [drop["content"] for drop in read_drops(output)] == ["1", "2", "3"]
    assert [drop["content"] for drop in read_drops(path, "a")] == ["1", "3"]
    assert list(read_drops(output, "c")) == []


def test_none_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no drops at"):
        list(read_drops(tmp_path / "out.jsonl"))
