"""A manifest belongs to the files beside it: by counts, sizes and hashes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from steel_megatron.config import DataError
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.manifest import Manifest
from steel_megatron.tokens.manifest_check import check_belongs, check_hash
from steel_megatron.tokens.tokenise.run import tokenize


@pytest.fixture
def made(tmp_path: Path) -> tuple[str, Manifest]:
    (tmp_path / "in.jsonl").write_text('{"text": "1 2 3"}\n{"text": "4 50"}\n')
    tokenize([tmp_path / "in.jsonl"], tmp_path / "data", build_tokenizer("NullTokenizer", None, 100))
    prefix = str(tmp_path / "data_text_document")
    manifest = Manifest.find(prefix)
    assert manifest is not None
    return prefix, manifest


@pytest.mark.parametrize("what", ["documents", "tokens", "bytes of .bin", "bytes of .idx"])
def test_each_number_counts(made: tuple[str, Manifest], what: str) -> None:
    prefix, manifest = made
    check_belongs(IndexedDataset(prefix), manifest)
    if what.startswith("bytes"):
        name = what[-3:]
        record = replace(manifest.outputs[name], bytes=9)
        other = replace(manifest, outputs={**manifest.outputs, name: record})
    else:
        other = replace(manifest, **{what: 9})
    with pytest.raises(DataError, match=f"{what}, its manifest tells of 9"):
        check_belongs(IndexedDataset(prefix), other)


def test_hashes(made: tuple[str, Manifest]) -> None:
    prefix, manifest = made
    check_hash(prefix, "bin", manifest.outputs["bin"].sha256, manifest)
    with pytest.raises(DataError, match=r"\.idx has SHA-256 0, its manifest says [0-9a-f]{64}"):
        check_hash(prefix, "idx", "0", manifest)
    assert isinstance(manifest.outputs["idx"], FileRecord)
