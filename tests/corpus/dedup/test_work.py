"""Numbers of documents and places of files: those of earlier runs come before those of this one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helpers.dedup_stages import signed
from steel_megatron.corpus.dedup.work import SIGNED, Partitions, Signed


def test_earlier_documents_come_first(tmp_path: Path) -> None:
    own = signed(tmp_path, {"a": ["one", "two"], "b": ["three"]}, Partitions(1, 1, 10))
    assert (own.own_first, own.firsts, list(own.signed)) == (0, (0, 2, 3), [0, 1])
    earlier = (Signed("kept/000000", "old", 5), Signed("kept/000001", "older", 4))
    job = replace(own, earlier=earlier, firsts=(0, 5, 9, 11, 12))
    assert (job.own_first, job.documents) == (9, 12)
    assert [job.first_of(part) for part in job.plan.parts] == [9, 11]
    assert [job.source_of(at) for at in job.signed] == ["old", "older", "a", "b"]
    assert job.signed_path(1, ".marks") == Path("kept/000001.marks")
    assert job.signed_path(3, ".marks") == own.path(SIGNED, 1, ".marks") == own.signed_path(1, ".marks")
