"""Metrics by hand-worked cases and by definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.corpus.classify.metrics import (
    auc,
    many_class_metrics,
    ranks_of,
    shared_best,
    spearman,
    two_class_metrics,
)

SCORES = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40)


@given(SCORES)
def test_auc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], float)
    second = np.array([is_second for _, is_second in pairs])
    found = auc(scores, second)
    wins = [float(b > a) + 0.5 * (b == a) for a in scores[~second] for b in scores[second]]
    assert (found is None) == (not wins)
    assert found is None or found == pytest.approx(np.mean(wins))


def test_ranks_of_equal_scores_are_their_mean() -> None:
    assert ranks_of(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_orders_agree_or_not() -> None:
    first = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(first, first**3) == pytest.approx(1.0)
    assert spearman(first, -first) == pytest.approx(-1.0)
    assert spearman(first, np.zeros(4)) == 0.0
    assert shared_best(first, -first, 0.5) == 0.0
    assert shared_best(first, np.array([1.0, 4.0, 2.0, 3.0]), 0.5) == 0.5


def test_two_classes_weigh_the_same() -> None:
    metrics = two_class_metrics(np.array([0.9, 0.9, 0.9, 0.6, 0.1]), np.array([1, 1, 1, 0, 0]))
    assert metrics == {"auc": 1.0, "accuracy": 0.75}


def test_what_a_label_is_taken_as_is_told() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    metrics = many_class_metrics(probabilities, np.array([0, 0, 1, 1]), ["a", "b", "c"])
    assert metrics["accuracy"] == 0.75
    assert metrics["labels"] == {
        "a": {"texts": 2, "accuracy": 0.5, "precision": 1.0, "taken_as": {"b": 1}},
        "b": {"texts": 2, "accuracy": 1.0, "precision": pytest.approx(2 / 3), "taken_as": {}},
    }
