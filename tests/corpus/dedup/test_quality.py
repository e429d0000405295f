"""Recall and precision on planted duplicates, by true Jaccard; benchmarks/dedup.py does the same on more."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from helpers.dedup_runs import fallen, run_dedup
from helpers.planted_duplicates import plant
from helpers.shingle_reference import shingles


@pytest.mark.parametrize("chinese", [True, False])
def test_planted_duplicates_are_found_and_others_left(tmp_path: Path, chinese: bool) -> None:
    documents = list(plant(24, 9, chinese))
    done = run_dedup(tmp_path, {"s": [document.text for document in documents]})
    kept = {int(name[2:]): int(entry["kept_id"][2:]) for name, entry in fallen(done).items()}
    sets = [shingles(document.text) for document in documents]
    alike, joined = [], []
    for one, two in itertools.combinations(range(len(documents)), 2):
        together = kept.get(one, one) == kept.get(two, two)
        if together or documents[one].family == documents[two].family:
            jaccard = len(sets[one] & sets[two]) / len(sets[one] | sets[two])
            alike += [together] if jaccard >= 0.85 else []
            joined += [jaccard > 0.5] if together else []
    assert len(alike) > 40
    assert sum(alike) >= 0.95 * len(alike)
    assert sum(joined) >= 0.99 * len(joined)
