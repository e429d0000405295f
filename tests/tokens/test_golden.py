"""Datasets that an earlier version wrote (golden/run/make.py) are read and merged; those of jobs are in tests/jobs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.golden_run import golden_run
from steel_megatron.cli.main import main
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.manifest import Manifest

DATASETS = ("web_text_document", "book_text_document", "both_text_document")


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return golden_run(tmp_path)


@pytest.mark.parametrize("prefix", DATASETS)
def test_an_old_dataset_is_whole(golden: dict[str, Any], prefix: str) -> None:
    manifest = Manifest.find(prefix)
    assert manifest is not None
    dataset = IndexedDataset(prefix)
    assert (dataset.document_count, dataset.token_count) == (manifest.documents, manifest.tokens)
    assert main(["inspect", prefix, "--verify"]) == 0


def test_old_datasets_are_merged_to_the_same_bytes(golden: dict[str, Any]) -> None:
    web, book, both = DATASETS
    assert main(["merge", "--input", web, book, "--output-prefix", "again"]) == 0
    for suffix in (".bin", ".idx"):
        assert Path(f"again{suffix}").read_bytes() == Path(f"{both}{suffix}").read_bytes()
    then, now = (json.loads(Path(f"{name}.manifest.json").read_text()) for name in (both, "again"))
    for key in ("outputs", "code_version"):
        then.pop(key), now.pop(key)
    assert {key: now[key] for key in then} == then
