"""Stage 1: a mark, a hash, an id and a signature of every record."""

from __future__ import annotations

import numpy as np

from helpers.dedup_stages import signed, words
from steel_megatron._minhash import PERMUTATIONS
from steel_megatron.corpus.dedup import sign
from steel_megatron.corpus.dedup.plan import make_plan
from steel_megatron.corpus.dedup.settings import DedupSettings, SourceInput
from steel_megatron.corpus.dedup.work import Job, Partitions

CUT = Partitions(1, 1, 10)


def test_records_are_marked_by_what_they_hold(tmp_path):
    job = signed(tmp_path, {"a": [words(1), "", "ab", words(1)]}, CUT)
    marks = np.fromfile(job.path(sign.STAGE, 0, ".marks"), np.uint8)
    assert marks.tolist() == [0, sign.EMPTY | sign.SHORT, sign.SHORT, 0]
    hashes = np.fromfile(job.path(sign.STAGE, 0, ".hashes"), "V16").tolist()
    assert hashes[0] == hashes[3]
    assert len(set(hashes)) == 3
    signatures = np.fromfile(job.path(sign.STAGE, 0, ".signatures"), np.uint16).reshape(-1, PERMUTATIONS)
    assert len(signatures) == 4
    assert (signatures[0] == signatures[3]).all()


def test_ids_lie_one_behind_the_other(tmp_path):
    job = signed(tmp_path, {"a": ["x"] * 11}, CUT)
    ids = job.path(sign.STAGE, 0, ".ids").read_bytes()
    ends = np.fromfile(job.path(sign.STAGE, 0, ".id_ends"), np.uint64).tolist()
    starts = [0, *ends[:-1]]
    assert [ids[start:end].decode() for start, end in zip(starts, ends, strict=True)] == [f"a/{i}" for i in range(11)]


def test_blank_lines_are_counted_and_no_documents(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\n{"text": "x"}\n  \nno json\n{"text": 3}\n')
    plan = make_plan([SourceInput("a", str(path))], (), DedupSettings(), ()).cut(1 << 20)
    job = Job(str(tmp_path / "work"), plan)
    job.file(sign.STAGE).mkdir(parents=True)
    counts = sign.sign_part(job, plan.parts[0])
    assert (counts["documents"], counts["lines"]) == (3, 5)
    marks = np.fromfile(job.path(sign.STAGE, 0, ".marks"), np.uint8)
    assert [bool(mark & sign.INVALID) for mark in marks] == [False, True, True]


def test_exact_only_makes_no_signatures(tmp_path):
    job = signed(tmp_path, {"a": [words(1), "ab"]}, CUT, exact_only=True)
    assert job.path(sign.STAGE, 0, ".signatures").stat().st_size == 0
    assert np.fromfile(job.path(sign.STAGE, 0, ".marks"), np.uint8).tolist() == [0, 0]
