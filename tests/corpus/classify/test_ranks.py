"""Ranks are shares of a corpus, and several classifiers are joined by the largest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import ConfigError
from steel_megatron.corpus.classify.ranks import BINS, STEPS, Ranks, bins_of, threshold

LOGITS = st.lists(st.floats(-40, 40, allow_subnormal=False), min_size=1, max_size=30)


def ranks_of(*models: np.ndarray) -> Ranks:
    counts = np.stack([np.bincount(bins_of(logits), minlength=BINS) for logits in models])
    return Ranks.of({f"m{at}": f"d{at}" for at in range(len(models))}, counts)


@given(LOGITS)
def test_a_rank_is_the_share_of_texts_that_are_not_above(values: list[float]) -> None:
    logits = np.array(values)
    steps = ranks_of(logits).steps_of(logits[:, None])
    bins = bins_of(logits)
    for own, step in zip(bins, steps, strict=True):
        assert step == int((bins <= own).sum()) * STEPS // len(bins)


def test_the_largest_rank_of_several_counts() -> None:
    first, second = np.arange(10.0), np.arange(10.0)[::-1]
    steps = ranks_of(first, second).steps_of(np.stack([first, second], axis=1))
    assert (steps * 10 / STEPS).tolist() == [10, 9, 8, 7, 6, 6, 7, 8, 9, 10]


@given(LOGITS, st.floats(0.01, 1))
def test_the_threshold_keeps_at_least_the_share_and_no_rank_more(values: list[float], share: float) -> None:
    logits = np.array(values)
    steps = ranks_of(logits).steps_of(logits[:, None])
    least = threshold([steps[:3], steps[3:]], share)
    assert (steps >= least).mean() >= share
    assert not (steps > least).any() or (steps > least).mean() < share


def test_a_file_of_ranks_is_read_as_it_was_written_and_only_for_its_models(tmp_path: Path) -> None:
    ranks, path = ranks_of(np.arange(9.0), np.arange(9.0) / 7), tmp_path / "x.ranks.json"
    path.write_text(json.dumps(ranks.content()))
    again = Ranks.read(path, {"m1": "d1", "m0": "d0"}, "ranks")
    logits = np.linspace(-1, 10, 50)[:, None]
    assert np.array_equal(again.steps_of(np.hstack([logits, logits])), ranks.steps_of(np.hstack([logits, logits])))
    with pytest.raises(ConfigError, match="has no ranks of other"):
        Ranks.read(path, {"other": "d9"}, "ranks")
    path.write_text("[]")
    with pytest.raises(ConfigError, match="holds no ranks"):
        Ranks.read(path, {"m0": "d0"}, "ranks")
    with pytest.raises(ConfigError, match="No such file"):
        Ranks.read(tmp_path / "gone", {"m0": "d0"}, "ranks")
