"""Parts put at their places give the dataset that one writer would have made, in whatever order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from helpers.null_tokens import lines_of_texts, part_job, parts_of_file
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.tokenise import join
from steel_megatron.tokens.tokenise.join import (
    JoinJob,
    Place,
    PlacedDataset,
    groups_of,
    is_placed,
    place_ids,
    place_index,
    used_parts,
)
from steel_megatron.tokens.tokenise.part import IDS, tokenize_part

TEXTS = [" ".join(str(n % 90) for n in range(i % 5)) for i in range(40)]


def placed(folder, monkeypatch, group_bytes: int) -> JoinJob:
    """A dataset with its parts tokenised, nothing in its place yet."""
    monkeypatch.setattr(join, "GROUP_BYTES", group_bytes)
    (folder / "a.jsonl").write_bytes(lines_of_texts(TEXTS))
    work = part_job(folder / "work")
    starts = [Place()]
    for part in parts_of_file(folder / "a.jsonl", 100):
        counts, at = tokenize_part(work, part), starts[-1]
        key = counts.keys[0]
        starts.append(Place(at.documents + counts.documents, at.sequences + key.sequences, at.tokens + key.tokens))
    assert len(starts) > 5
    dataset = PlacedDataset(str(folder / "x"), "uint16", starts[-1])
    return JoinJob(work.files, 0, dataset, tuple(starts))


@pytest.mark.parametrize("group_bytes", [1, 60, 1 << 20])
def test_groups_may_come_in_any_order(tmp_path, monkeypatch, group_bytes):
    job = placed(tmp_path, monkeypatch, group_bytes)
    groups = list(groups_of(job.starts, 2))
    for group in reversed(groups):
        place_ids(job.files, job.dataset.bin, group)
        task = used_parts(job.files, 0, group.number)
        mark = task.marked()
        assert mark is not None
        assert task.since_start()
        assert is_placed(mark, job.dataset.bin, same_boot=False)
        assert not job.files.file(group.first, 0, IDS).exists()
    for group in groups:
        job.dataset.create()  # again each time, as by a run that goes on
        place_index(job, group)
    job.dataset.bin.rename(tmp_path / "x.bin")
    job.dataset.idx.rename(tmp_path / "x.idx")
    dataset = IndexedDataset(tmp_path / "x")
    found = [" ".join(map(str, np.asarray(dataset.document(i)).tolist())) for i in range(dataset.document_count)]
    assert found == TEXTS


def test_what_the_disk_never_got_is_seen(tmp_path, monkeypatch):
    job = placed(tmp_path, monkeypatch, 60)
    group = groups_of(job.starts, 2)[1]
    place_ids(job.files, job.dataset.bin, group)
    mark = used_parts(job.files, 0, group.number).marked()
    assert mark is not None
    data = job.dataset.bin.read_bytes()
    for lost in (data[:-1], data[:-2] + b"\0\0", data[: group.at] + bytes(len(data) - group.at)):
        job.dataset.bin.write_bytes(lost)
        assert not is_placed(mark, job.dataset.bin, same_boot=False)
    job.dataset.bin.unlink()
    assert not is_placed(mark, job.dataset.bin, same_boot=True)


def test_groups_hold_every_part_once(monkeypatch):
    monkeypatch.setattr(join, "GROUP_BYTES", 20)
    starts = [Place(tokens=tokens) for tokens in (0, 4, 10, 11, 40, 40, 41)]
    groups = list(groups_of(starts, 2))
    assert [(group.first, group.stop, group.ids_bytes) for group in groups] == [(0, 2, 20), (2, 4, 60), (4, 6, 2)]
    assert [group.number for group in groups] == [0, 1, 2]
    assert [group.at for group in groups] == [0, 20, 80]
    assert all(one.stop == two.first for one, two in itertools.pairwise(groups))
    assert list(groups_of(starts[:1], 2)) == []
