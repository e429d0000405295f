"""Joining datasets: the documents of all in order, their manifests as one, and what does not go together."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.forked import kill_everywhere
from helpers.megatron_files import CODES, Documents, read_megatron, write_megatron
from steel_megatron.config import DataError
from steel_megatron.jobs.hashes import FileRecord, hash_file
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.manifest import Manifest, TokenizerRecord
from steel_megatron.tokens.merge.run import merge

ids = st.integers(0, 127)
documents = st.lists(st.lists(st.lists(ids, max_size=4), max_size=3), max_size=4)

TOKENIZER = TokenizerRecord("NullTokenizer", "f1", vocab_size=100, eod_id=99)


def write_with_manifest(prefix: Path, docs: Documents, **changes: Any) -> Path:
    """An int32 dataset and its manifest."""
    write_megatron(prefix, docs, "int32")
    tokens = [token for document in docs for sequence in document for token in sequence]
    manifest = Manifest(
        key="text",
        append_eod=True,
        tokenizer=TOKENIZER,
        dtype="int32",
        inputs=(FileRecord(f"{prefix.name}.jsonl", 10 * len(docs), f"hash of {prefix.name}"),),
        documents=len(docs),
        tokens=len(tokens),
        largest_id=max(tokens, default=-1),
        text_bytes=4 * len(tokens),
        blank_lines=1,
        rejects={"not_json": len(docs), f"only_{prefix.name}": 1},
        outputs={name: replace(hash_file(f"{prefix}.{name}"), path=f"{prefix.name}.{name}") for name in ("bin", "idx")},
    )
    replace(manifest, **changes).write(prefix)
    return prefix


@settings(max_examples=30)
@given(st.sampled_from(list(CODES)), st.lists(documents, min_size=1, max_size=4))
def test_the_documents_of_all_in_order(dtype: str, parts: list[Documents]) -> None:
    with TemporaryDirectory() as folder:
        prefixes = [write_megatron(f"{folder}/{n}", part, dtype) for n, part in enumerate(parts)]
        merged = merge(prefixes, f"{folder}/out/all")
        joined = [document for part in parts for document in part]
        assert read_megatron(f"{folder}/out/all") == (dtype, joined)
        assert sorted(os.listdir(f"{folder}/out")) == ["all.bin", "all.idx"]
        assert (merged.documents, merged.dtype, merged.manifest) == (len(joined), dtype, None)
        assert merged.tokens == sum(len(sequence) for document in joined for sequence in document)
        assert merged.sequences == sum(map(len, joined))


def test_folders_and_files_are_taken_once_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    for number in (10, 2, 1):
        write_megatron(tmp_path / "parts" / f"part_{number}", [[[number]]], "int32")
    (tmp_path / "parts" / "notes.txt").write_text("not a dataset")
    (tmp_path / "parts" / "part_1.bin.partial").write_text("of a killed run")
    first = write_megatron(tmp_path / "first", [[[7]]], "int32")
    merged = merge([f"{first}.bin", f"{first}.idx", tmp_path / "parts"], tmp_path / "parts" / "all")
    assert [os.path.basename(prefix) for prefix in merged.inputs] == ["first", "part_1", "part_10", "part_2"]
    assert IndexedDataset(tmp_path / "parts" / "all").tokens.tolist() == [7, 1, 10, 2]
    merge([tmp_path / "parts"], tmp_path / "parts" / "all", overwrite=True)  # the output is not among the inputs
    assert IndexedDataset(tmp_path / "parts" / "all").tokens.tolist() == [1, 10, 2]


def test_manifests_become_one(tmp_path: Path) -> None:
    parts = [
        write_with_manifest(tmp_path / "a", [[[1, 2, 3]], []]),
        write_with_manifest(tmp_path / "b", [[[40, 5]]]),
        write_with_manifest(tmp_path / "c", [], key="content"),
    ]
    merged = merge(parts, tmp_path / "all")
    found = Manifest.find(tmp_path / "all")
    assert found == merged.manifest
    assert found is not None
    assert found.tokenizer == TOKENIZER
    assert (found.documents, found.tokens, found.largest_id, found.text_bytes) == (3, 5, 40, 20)
    assert (found.blank_lines, found.key, found.append_eod, found.dtype) == (3, "text,content", True, "int32")
    assert found.rejects == {"not_json": 3, "only_a": 1, "only_b": 1, "only_c": 1}
    assert [record.sha256 for record in found.inputs] == ["hash of a", "hash of b", "hash of c"]
    for name in ("bin", "idx"):
        content = (tmp_path / f"all.{name}").read_bytes()
        assert found.outputs[name] == FileRecord(f"all.{name}", len(content), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tokenizer": replace(TOKENIZER, fingerprint="f2")}, "made with tokenizer f1 .* with f2"),
        ({"append_eod": False}, "end with id 99, those of .* without an end-of-document id"),
        ({"tokenizer": replace(TOKENIZER, eod_id=98)}, "end with id 99, those of .* with id 98"),
        ({"documents": 7}, "has 1 documents, its manifest tells of 7"),
        ({"tokens": 7}, "has 2 tokens, its manifest tells of 7"),
        ({"outputs": {name: FileRecord("", 8, "") for name in ("bin", "idx")}}, r"bytes of \.idx"),
    ],
)
def test_manifests_that_do_not_go_together(tmp_path: Path, changes: dict[str, Any], problem: str) -> None:
    first = write_with_manifest(tmp_path / "a", [[[1, 2, 3]]])
    second = write_with_manifest(tmp_path / "b", [[[4, 5]]], **changes)
    with pytest.raises(DataError, match=problem):
        merge([first, second], tmp_path / "all")
    assert not list(tmp_path.glob("all*"))
    merged = merge([first, second], tmp_path / "all", use_manifests=False)
    assert merged.manifest is None
    assert IndexedDataset(tmp_path / "all").tokens.tolist() == [1, 2, 3, 4, 5]


def test_a_missing_manifest_is_not_passed_over(tmp_path: Path) -> None:
    first = write_with_manifest(tmp_path / "a", [[[1]]])
    second = write_megatron(tmp_path / "b", [[[2]]], "int32")
    with pytest.raises(DataError, match=r"no file .*b\.manifest\.json, while .*\n.*\n.*--no-manifest"):
        merge([first, second], tmp_path / "all")


@pytest.mark.parametrize("name", ["bin", "idx"])
def test_a_file_that_changed_since_its_manifest(tmp_path: Path, name: str) -> None:
    first = write_with_manifest(tmp_path / "a", [[[1]], [[2], [3]]])
    content = bytearray((tmp_path / f"a.{name}").read_bytes())
    content[-16 if name == "idx" else 0] ^= 3  # another token, or another valid boundary
    (tmp_path / f"a.{name}").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.{name} has SHA-256"):
        merge([first], tmp_path / "all")
    assert not list(tmp_path.glob("all*"))


def test_types_differ(tmp_path: Path) -> None:
    first = write_megatron(tmp_path / "a", [[[1]]], "int32")
    second = write_megatron(tmp_path / "b", [[[1]]], "uint16")
    with pytest.raises(DataError, match=r"a is int32, .*b is uint16\n.*one token type\n.*tokenise"):
        merge([first, second], tmp_path / "all")
    assert not list(tmp_path.glob("all*"))


def test_what_is_missing_damaged_or_in_the_way(tmp_path: Path) -> None:
    a = write_megatron(tmp_path / "a", [[[1]]], "int32")
    (tmp_path / "empty").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "x.bin").write_bytes(b"1234")
    broken = write_megatron(tmp_path / "broken", [[[1]]], "int32")
    (tmp_path / "broken.bin").write_bytes(b"")
    modes = write_megatron(tmp_path / "modes", [[[1]]], "int32", modes=[0])
    for inputs, problem in [
        ([tmp_path / "nowhere"], r"no file .*nowhere\.bin and no file .*nowhere\.idx"),
        ([tmp_path / "empty"], "holds no dataset"),
        ([tmp_path / "half"], r"no file .*x\.idx"),
        ([a, broken], r"broken\.bin has 0 bytes, expected 4"),
        ([a, modes], "multimodal"),
    ]:
        with pytest.raises(DataError, match=problem):
            merge(inputs, tmp_path / "all")
    with pytest.raises(DataError, match="both an input and the output"):
        merge([a], tmp_path / "empty" / ".." / "a", overwrite=True)
    (tmp_path / "all.idx").write_bytes(b"")
    with pytest.raises(DataError, match=r"all\.idx is there already\n.*\n.*--overwrite"):
        merge([a], tmp_path / "all")
    merge([a], tmp_path / "all", overwrite=True)
    assert read_megatron(tmp_path / "all")[1] == [[[1]]]


def test_killed_at_any_system_call(tmp_path: Path) -> None:
    """Over an older dataset: the files that are there always belong together."""
    output = tmp_path / "all"
    parts = [write_with_manifest(tmp_path / "a", [[[1]]]), write_with_manifest(tmp_path / "b", [[[2, 3]]])]
    found = []

    def prepare() -> None:
        for path in tmp_path.glob("all*"):
            path.unlink()
        write_with_manifest(output, [[[9] * 5]])

    def check() -> None:
        manifest = Manifest.find(output)
        whole = os.path.exists(f"{output}.idx") and os.path.exists(f"{output}.bin")
        tokens = IndexedDataset(output).tokens.tolist() if whole else None
        assert tokens in ([9] * 5, [1, 2, 3], None)
        if manifest is not None:
            assert tokens is not None
            assert manifest.outputs["bin"].sha256 == hashlib.sha256(np.array(tokens, "<i4").tobytes()).hexdigest()
        found.append((tokens, manifest is not None))

    kill_everywhere(lambda: merge(parts, output, overwrite=True), prepare, check, step=5)
    assert found[0] == ([9] * 5, True)
    assert found[-1] == ([1, 2, 3], True)
    assert sorted(path.name for path in tmp_path.glob("all*")) == ["all.bin", "all.idx", "all.manifest.json"]
