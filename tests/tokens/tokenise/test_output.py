"""What an earlier run left: taken as done, refused with the difference, or cleared away."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from helpers.null_tokens import lines_of_texts
from steel_megatron.config import DataError
from steel_megatron.jobs.inputs import Input
from steel_megatron.jobs.parts import InputFile
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens.tokenise.output import (
    TokenizeJob,
    clear_old_work,
    dataset_prefix,
    finished_before,
    refuse_old_work,
)
from steel_megatron.tokens.tokenise.run import tokenize

JOB = TokenizeJob(NullTokenizer(100), ("text",), None, "uint16")


@pytest.fixture
def made(tmp_path):
    """A finished dataset, and its input as it is now."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines_of_texts(["1 2", "3"]))
    tokenize([path], tmp_path / "x", NullTokenizer(100))
    prefixes = {"text": dataset_prefix(tmp_path / "x", "text")}
    return path, prefixes, lambda: [InputFile.of(Input(str(path), path.name, False))]


def test_the_same_work_is_done_already(made):
    _, prefixes, files = made
    found = finished_before(prefixes, files(), JOB, overwrite=False)
    assert [manifest.tokens for manifest in found.values()] == [3]
    assert finished_before(prefixes, files(), JOB, overwrite=True) is None
    assert finished_before({"text": prefixes["text"] + "_new"}, files(), JOB, overwrite=False) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tokenizer": NullTokenizer(99)}, "made with another tokenizer"),
        ({"eod_id": 100}, "made without --append-eod"),
        ({"shuffle_seed": 3}, "in the order of the input, now shuffled with seed 3"),
        ({"dtype": "int32"}, "as uint16, now 'text' as int32"),
    ],
)
def test_other_settings_are_named(made, changes, said):
    _, prefixes, files = made
    with pytest.raises(DataError, match=said):
        finished_before(prefixes, files(), replace(JOB, **changes), overwrite=False)


def test_other_inputs_are_named(made):
    path, prefixes, files = made
    with pytest.raises(DataError, match="made of 1 input files, now 2"):
        finished_before(prefixes, files() * 2, JOB, overwrite=False)
    path.write_bytes(path.read_bytes().replace(b"3", b"4"))
    with pytest.raises(DataError, match="has another content"):
        finished_before(prefixes, files(), JOB, overwrite=False)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(DataError, match="bytes, then"):
        finished_before(prefixes, files(), JOB, overwrite=False)


def test_a_damaged_or_foreign_dataset_is_named(made, tmp_path):
    _, prefixes, files = made
    (tmp_path / "x_text_document.bin").write_bytes(b"")
    with pytest.raises(DataError, match="has 0 bytes, its manifest says 6 bytes"):
        finished_before(prefixes, files(), JOB, overwrite=False)
    (tmp_path / "x_text_document.manifest.json").unlink()
    with pytest.raises(DataError, match="another tool made it"):
        finished_before(prefixes, files(), JOB, overwrite=False)


def test_work_of_the_first_version_is_refused_and_cleared_only_when_asked(tmp_path):
    journal = tmp_path / "x.tokenize.partial"
    left = tmp_path / "x_text_document.lengths.partial"
    refuse_old_work(tmp_path / "x", overwrite=False)
    for path in (journal, left):
        path.write_text(json.dumps({}))
    with pytest.raises(DataError, match="run of an earlier version"):
        refuse_old_work(tmp_path / "x", overwrite=False)
    refuse_old_work(tmp_path / "x", overwrite=True)
    clear_old_work(tmp_path / "x", [dataset_prefix(tmp_path / "x", "text")])
    assert not list(tmp_path.iterdir())
