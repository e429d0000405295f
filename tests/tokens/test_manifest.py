"""The record beside a dataset."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

from steel_megatron.config import DataError
from steel_megatron.jobs.hashes import FileRecord, hash_file
from steel_megatron.tokens.manifest import Manifest, TokenizerRecord, manifest_path

MANIFEST = Manifest(
    key="text",
    append_eod=True,
    tokenizer=TokenizerRecord("TikTokenizer", "f" * 32, 151_646, 151_643),
    dtype="int32",
    inputs=(FileRecord("语料/a.jsonl", 10, "0" * 64), FileRecord("b\udcff.jsonl", 0, "1" * 64)),
    documents=3,
    tokens=9,
    largest_id=151_643,
    text_bytes=20,
    blank_lines=1,
    rejects={"bad_json": 2},
    outputs={"bin": FileRecord("x.bin", 36, "2" * 64), "idx": FileRecord("x.idx", 102, "3" * 64)},
)


def test_it_comes_back_as_it_was_written(tmp_path):
    MANIFEST.write(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x.manifest.json"]
    assert Manifest.find(tmp_path / "x") == MANIFEST
    assert "语料" in manifest_path(tmp_path / "x").read_text()
    assert MANIFEST.vocabulary_needed == 151_644
    assert MANIFEST.tokenizer_fingerprint == "f" * 32


def test_no_manifest_is_none(tmp_path):
    assert Manifest.find(tmp_path / "x") is None


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"version": 1}', '{"version": 1, "tokenizer": {}}'])
def test_a_damaged_one_is_named(tmp_path, content):
    manifest_path(tmp_path / "x").write_text(content)
    with pytest.raises(DataError, match=r"x\.manifest\.json is damaged"):
        Manifest.find(tmp_path / "x")


def test_another_version_is_refused(tmp_path):
    replace(MANIFEST, version=99).write(tmp_path / "x")
    with pytest.raises(DataError, match="has version 99"):
        Manifest.find(tmp_path / "x")


def test_a_new_key_is_not_read_by_chance(tmp_path):
    MANIFEST.write(tmp_path / "x")
    content = json.loads(manifest_path(tmp_path / "x").read_text())
    manifest_path(tmp_path / "x").write_text(json.dumps({**content, "other": 1}))
    with pytest.raises(DataError, match="other"):
        Manifest.find(tmp_path / "x")


def test_hashing_a_file(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 9_000_000)
    seen = []
    record = hash_file(tmp_path / "a", seen.append)
    assert record == FileRecord(str(tmp_path / "a"), 9_000_000, hashlib.sha256(b"x" * 9_000_000).hexdigest())
    assert sum(seen) == 9_000_000
