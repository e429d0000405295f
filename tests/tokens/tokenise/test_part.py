"""A part of a file becomes files of ids, lengths and rejects, and counts that add up."""

from __future__ import annotations

import gzip
import hashlib
import json

import numpy as np
import pytest

from helpers.null_tokens import EOD, lines_of_texts, part_job, parts_of_file
from steel_megatron.config import DataError
from steel_megatron.tokens.tokenise.part import IDS, LENGTH_TYPE, LENGTHS, REJECTED, PartCounts, tokenize_part

DATA = lines_of_texts(["1 2 3", "", "7"]) + b"\nbad\n" + lines_of_texts(["9 9"])


@pytest.mark.parametrize("batch_bytes", [1, 20, 1 << 20])
def test_files_and_counts_do_not_depend_on_the_batches(tmp_path, batch_bytes):
    path = tmp_path / "a.jsonl"
    path.write_bytes(DATA)
    job = part_job(tmp_path / "work", eod=True, batch_bytes=batch_bytes)
    counts = tokenize_part(job, parts_of_file(path)[0])
    ids = np.fromfile(job.files.file(0, 0, IDS), np.uint16)
    assert ids.tolist() == [1, 2, 3, EOD, 7, EOD, 9, 9, EOD]
    assert np.fromfile(job.files.file(0, 0, LENGTHS), LENGTH_TYPE).tolist() == [4, 0, 2, 3]
    (reject,) = map(json.loads, job.files.task(0).file(REJECTED).read_text().splitlines())
    assert (reject["line"], reject["file"]) == (5, str(path))
    assert (counts.documents, counts.lines, counts.blank_lines, sum(counts.rejects.values())) == (4, 6, 1, 1)
    key = counts.keys[0]
    assert (key.sequences, key.tokens, key.largest_id, key.text_bytes) == (3, 9, EOD, 9)


def test_counts_come_back_from_the_mark(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(DATA))
    job = part_job(tmp_path / "work")
    counts = tokenize_part(job, parts_of_file(path)[0])
    assert PartCounts.of(job.files.task(0).done()) == counts
    assert counts.record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert counts.record.bytes == path.stat().st_size


def test_a_part_without_a_token_has_no_largest_id(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": ""}\n')
    counts = tokenize_part(part_job(tmp_path / "work"), parts_of_file(path)[0])
    assert (counts.documents, counts.keys[0].sequences, counts.keys[0].largest_id) == (1, 0, -1)


def test_a_file_that_has_become_shorter_is_an_error_and_leaves_no_mark(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(DATA)
    (part,) = parts_of_file(path)
    path.write_bytes(DATA[:20])
    job = part_job(tmp_path / "work")
    with pytest.raises(DataError, match="has become shorter"):
        tokenize_part(job, part)
    assert job.files.task(0).done() is None
