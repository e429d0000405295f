"""Counts of lines go to partitions on disk; what is repeated comes out ascending."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xxhash

from helpers.dedup_runs import write_source
from steel_megatron.corpus.dedup.plan import make_plan
from steel_megatron.corpus.dedup.settings import DedupSettings, SourceInput
from steel_megatron.corpus.dedup.work import Partitions
from steel_megatron.corpus.repeated_lines import LineSettings, work


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("batch", [1, 1 << 20])
def test_repeated_lines_by_partition(
    tmp_path: Path, partitions: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "BATCH", batch)
    texts = ["x\ny\nx", "y\nz", "z\ny", ""]
    inputs = [SourceInput(name, str(write_source(tmp_path, name, texts[at:]))) for at, name in enumerate("ab")]
    plan = make_plan(inputs, (), DedupSettings(), ()).cut(1 << 20)
    job = work.LineJob(str(tmp_path / "work"), plan, (0, 1, 2), Partitions(1, partitions, 1), lines=LineSettings(2))
    for stage in (work.COUNT, work.REPEATED):
        job.file(stage).mkdir(parents=True)
    for part in plan.parts:
        work.count_part(job, part)
    found = [work.find_repeated(job, number) for number in range(partitions)]
    lines = np.concatenate([np.fromfile(job.path(work.REPEATED, n, ".lines"), np.uint64) for n in range(partitions)])
    expected = {(3, "y", 0), (2, "z", 0), (2, "y", 1), (2, "z", 1)}
    assert lines.tolist() == sorted(xxhash.xxh3_64_intdigest(line.encode(), seed) for _, line, seed in expected)
    top = {tuple(pair) for counts in found for pair in counts["top"]}
    assert top == {(count, xxhash.xxh3_64_intdigest(line.encode(), seed)) for count, line, seed in expected}
    assert sum(counts["lines"] for counts in found) == 4
