"""Stage 6: kept lines go out as they came; of the others it is told why they fell."""

from __future__ import annotations

import json

from helpers.dedup_runs import lines_of
from helpers.dedup_stages import changed, signed, through_groups, words
from steel_megatron.corpus.dedup import write
from steel_megatron.corpus.dedup.work import Job, Partitions

A, B = words(1), words(2)


def written(folder) -> Job:
    job = through_groups(signed(folder, {"a": [A, B], "b": [B, changed(A), "", words(3)]}, Partitions(1, 1, 10)))
    for part in job.plan.parts:
        write.write_part(job, part)
    return job


def test_kept_lines_are_the_bytes_that_came(tmp_path):
    job = written(tmp_path)
    lines = (tmp_path / "b.jsonl").read_bytes().splitlines(keepends=True)
    assert lines_of(job.path(write.STAGE, 1, write.KEPT)) == lines[2:]
    assert lines_of(job.path(write.STAGE, 0, write.KEPT)) == (tmp_path / "a.jsonl").read_bytes().splitlines(True)


def test_what_falls_names_its_place_and_what_is_kept_instead(tmp_path):
    job = written(tmp_path)
    exact, near = map(json.loads, lines_of(job.path(write.STAGE, 1, write.DROPPED)))
    assert (exact["line"], exact["id"], exact["reason"], exact["kept_id"]) == (1, "b/0", "exact", "a/1")
    assert exact["jaccard"] == 1
    assert (near["line"], near["id"], near["reason"], near["kept_input"], near["kept_id"]) == (
        2,
        "b/1",
        "near",
        "a",
        "a/0",
    )
    assert 0.75 <= near["jaccard"] <= 1


def test_counts_are_those_of_the_lines(tmp_path):
    counts = written(tmp_path).counts(write.STAGE, 1)
    assert counts["reasons"] == {"exact": 1, "near": 1, "kept": 2}
    assert counts["pairs"] == {"a": {"exact": 1, "near": 1}}
    assert sum(counts["jaccard"]) == 1
    assert sum(counts["bytes"].values()) + 4 == (tmp_path / "b.jsonl").stat().st_size  # 4 line ends


def test_joined_parts_go_and_a_second_worker_finds_the_work_done(tmp_path):
    job = written(tmp_path)
    first = write.join_file(job, 1)
    output = tmp_path / "out" / "b" / "b.jsonl.zst"
    assert first["bytes"] == output.stat().st_size
    assert len(lines_of(output)) == 2
    assert not job.path(write.STAGE, 1, write.KEPT).exists()
    again = write.join_file(job, 1)
    assert (again["bytes"], again["sha256"]) == (first["bytes"], first["sha256"])
    assert len(lines_of(output)) == 2
