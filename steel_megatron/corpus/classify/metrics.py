"""How good a classifier is on texts that it was not trained on, and how alike two orders of texts are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ranks_of(scores_N: Floats) -> Floats:
    """Ranks from 1, the mean one for equal scores."""
    _, place, counts = np.unique(scores_N, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    found: Floats = (last - (counts - 1) / 2)[place]
    return found


def auc(scores_N: Floats, is_second_N: NDArray[np.bool_]) -> float | None:
    """The share of pairs, one text of each class, that the scores put in order; None where a class is not there."""
    second = int(is_second_N.sum())
    first = len(is_second_N) - second
    if not first or not second:
        return None
    return float((ranks_of(scores_N)[is_second_N].sum() - second * (second + 1) / 2) / (first * second))


def spearman(first_N: Floats, second_N: Floats) -> float:
    """The correlation of two orders: 1 for the same, -1 for the opposite, 0 where one has none."""
    ranks = [ranks_of(scores) for scores in (first_N, second_N)]
    spread = [np.square(each - each.mean()).sum() for each in ranks]
    if not all(spread):
        return 0.0
    return float(((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).sum() / np.sqrt(spread[0] * spread[1]))


def shared_best(first_N: Floats, second_N: Floats, share: float) -> float:
    """Of the best texts by one order, the share that is among the best by the other too."""
    count = max(1, round(share * len(first_N)))
    best = [set(np.argsort(-scores, kind="stable")[:count].tolist()) for scores in (first_N, second_N)]
    return len(best[0] & best[1]) / count


def two_class_metrics(probabilities_N: Floats, labels_N: NDArray[np.int64]) -> dict[str, Any]:
    """``auc`` and ``accuracy`` at one half, each class weighing the same."""
    is_second = labels_N == 1
    right = (probabilities_N >= 0.5) == is_second
    shares = [float(right[mask].mean()) for mask in (~is_second, is_second) if mask.any()]
    return {"auc": auc(probabilities_N, is_second), "accuracy": float(np.mean(shares)) if shares else None}


def many_class_metrics(probabilities_NC: Floats, labels_N: NDArray[np.int64], labels: Sequence[str]) -> dict[str, Any]:
    """``accuracy`` over classes, and per label how many of its texts are found, and as what the others are taken."""
    found_N = probabilities_NC.argmax(axis=1)
    table: dict[str, Any] = {}
    for label, name in enumerate(labels):
        found = found_N[labels_N == label]
        if not len(found):
            continue
        taken_as = {labels[other]: int((found == other).sum()) for other in range(len(labels)) if other != label}
        table[name] = {
            "texts": len(found),
            "accuracy": float((found == label).mean()),
            "precision": float((labels_N[found_N == label] == label).mean()) if (found_N == label).any() else None,
            "taken_as": {other: count for other, count in taken_as.items() if count},
        }
    accuracy = float(np.mean([row["accuracy"] for row in table.values()])) if table else None
    return {"accuracy": accuracy, "labels": table}
