"""How a record gets its scores: its other bytes stay, and fields that are there are replaced."""

from __future__ import annotations

import json

import numpy as np
import orjson
import pytest

from steel_megatron.corpus.classify.model import Classifier, Features
from steel_megatron.corpus.classify.score_part import AddedFields, Choice, ScoreJob, ranked_columns


def classifier(name: str, labels: tuple[str, ...]) -> Classifier:
    columns = 1 if len(labels) == 2 else len(labels)
    weights = np.zeros((2, columns), np.int16)
    return Classifier(name, labels, Features(bits=1), weights, 1.0, (0.0,) * columns, 16, {})


def added(classifiers: list[Classifier], logits: list[list[float]], choice: Choice) -> AddedFields:
    return AddedFields(classifiers, np.array(logits), ScoreJob((), "text", ".", choice=choice))


def test_a_line_keeps_its_bytes() -> None:
    fields = added([classifier("m", ("bad", "good"))], [[0.0], [3.0]], Choice())
    assert fields.line(b'\xef\xbb\xbf{"text": "a",  "n": 1e2} \r', 0) == b'{"text": "a",  "n": 1e2,"quality":0.5}\n'
    assert fields.line(b'{"text": "a"}', 1) == b'{"text": "a","quality":0.952574}\n'


@pytest.mark.parametrize("line", [b'{"quality": 3, "text": "a"}', b'{"text": "a", "deep": {"quality": 1}}'])
def test_a_field_that_is_there_is_replaced(line: bytes) -> None:
    found = added([classifier("m", ("bad", "good"))], [[0.0]], Choice()).line(line, 0)
    assert orjson.loads(found) == json.loads(line) | {"quality": 0.5}
    assert found.count(b"\n") == 1


def test_what_is_kept() -> None:
    two = [classifier("m", ("bad", "good"))]
    assert added(two, [[0.0], [3.0], [np.nan]], Choice(least_score=0.6)).kept.tolist() == [False, True, False]
    many = [classifier("m", ("a", "b", "c"))]
    fields = added(many, [[0, 0, 5.0], [1.0, 0, 0]], Choice("kind", labels=("a",)))
    assert fields.kept.tolist() == [False, True]
    assert fields.fields["kind"] == ["c", "a"]
    assert fields.fields["kind_score"] == pytest.approx([0.9867, 0.5761], abs=1e-4)
    both = added([*two, classifier("n", ("x", "y"))], [[0.0, 1.0]], Choice())
    assert list(both.fields) == ["quality_m", "quality_n"]


def test_classifiers_of_two_labels_have_ranks() -> None:
    assert ranked_columns([classifier("a", ("x", "y")), classifier("b", ("x", "y", "z"))]) == [0]
    assert ranked_columns([classifier("b", ("x", "y", "z")), classifier("a", ("x", "y"))]) == [3]
