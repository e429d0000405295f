"""report.json: what went in is what came out or fell, by file, source and pair of sources."""

from __future__ import annotations

import json

import pytest

from helpers.dedup_stages import changed, signed, through_groups, words
from steel_megatron.config import DataError
from steel_megatron.corpus.dedup import sign, write
from steel_megatron.corpus.dedup.report import make_report
from steel_megatron.corpus.dedup.work import Job, Partitions

A, B = words(1), words(2)


@pytest.fixture
def job(tmp_path) -> Job:
    job = through_groups(signed(tmp_path, {"a": [A, B], "b": [B, changed(A), words(3)]}, Partitions(1, 1, 10)))
    for number, part in enumerate(job.plan.parts):
        write.write_part(job, part)
        write.join_file(job, number)
    return job


def test_the_sums_of_files_and_sources_agree(job, tmp_path):
    report = make_report(job, job.plan.files, {})
    assert (report["records"], report["documents"], report["rejects"]) == (5, 3, {"exact": 1, "near": 1})
    assert [(file["input"], file["records"], file["kept"]) for file in report["files"]] == [
        (str(tmp_path / "a.jsonl"), 2, 2),
        (str(tmp_path / "b.jsonl"), 3, 1),
    ]
    source = report["sources"]["b"]
    assert (source["records"], source["kept"], source["exact"], source["near"]) == (3, 1, 1, 1)
    assert source["output_bytes"] == (tmp_path / "out" / "b" / "b.jsonl.zst").stat().st_size
    assert report["pairs"] == [{"dropped": "b", "kept": "a", "exact": 1, "near": 1}]
    assert report["pairs_of_documents"] == {"candidates": 1, "verified": 1}
    assert sum(report["near_by_jaccard"].values()) == 1
    json.dumps(report["files"])


def test_a_record_that_got_lost_is_an_error(job):
    mark = job.path(sign.STAGE, 1, ".json")
    text = mark.read_text()
    assert '"documents": 3' in text
    mark.write_text(text.replace('"documents": 3', '"documents": 4'))
    with pytest.raises(DataError, match="records are missing") as caught:
        make_report(job, job.plan.files, {})
    assert caught.value.rule == "records in = kept + dropped"
