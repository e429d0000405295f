"""The file of a classifier is read as it was written, or refused."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xxhash

from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.classify.model import Classifier, Features, probabilities_of, read_classifier, rounded

TEXTS = ["一段中文", "some English", ""]


def classifier(columns: int = 1, width: int = 16) -> Classifier:
    labels = ("bad", "good") if columns == 1 else tuple(f"l{column}" for column in range(columns))
    weights = np.random.default_rng(1).normal(size=(1 << 10, columns)).astype(np.float32)
    whole, scale = rounded(weights, width)
    return Classifier("m", labels, Features(bits=10), whole, scale, (0.25,) * columns, width, {"made_of": "x"})


@pytest.mark.parametrize(("columns", "width"), [(1, 16), (1, 8), (5, 8)])
def test_a_file_gives_back_what_was_written(tmp_path: Path, columns: int, width: int) -> None:
    made = classifier(columns, width)
    made.write(tmp_path / "m.classifier")
    read = read_classifier(tmp_path / "m.classifier")
    assert (read.name, read.labels, read.features, read.trained) == ("m", made.labels, made.features, made.trained)
    assert read.digest == made.digest
    assert np.array_equal(read.probabilities(TEXTS), made.probabilities(TEXTS))


@pytest.mark.parametrize("at", [8, 12, 40, -200, -1])
def test_a_damaged_file_is_refused(tmp_path: Path, at: int) -> None:
    path = tmp_path / "m.classifier"
    classifier().write(path)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"m\.classifier is damaged"):
        read_classifier(path)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="is damaged"):
        read_classifier(path)


def test_what_is_no_classifier_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="is no classifier"):
        read_classifier(tmp_path / "x")
    with pytest.raises(ConfigError, match="No such file"):
        read_classifier(tmp_path / "gone")
    head = json.dumps({"format": 9}).encode()
    content = b"STEELCLF" + struct.pack("<I", len(head)) + head
    (tmp_path / "later").write_bytes(content + xxhash.xxh3_128_digest(content))
    with pytest.raises(ConfigError, match="is of format 9"):
        read_classifier(tmp_path / "later")


def test_the_digest_changes_with_all_that_scores_depend_on() -> None:
    made = classifier()
    others = [
        replace(made, **change)
        for change in (
            {"labels": ("a", "b")},
            {"features": Features(bits=10, words=False)},
            {"scale": 1.0},
            {"bias_C": (0.5,)},
            {"weights_BC": made.weights_BC + np.int16(1)},
        )
    ]
    assert len({made.digest, *(other.digest for other in others)}) == 6
    assert replace(made, name="other", trained={}).digest == made.digest


def test_probabilities_are_of_the_second_label_or_of_each() -> None:
    assert probabilities_of(np.array([[0.0], [700.0], [-800.0]])).tolist() == pytest.approx([0.5, 1.0, 0.0])
    many = probabilities_of(np.array([[1.0, 1.0], [900.0, 0.0]]))
    assert many.tolist() == [[0.5, 0.5], [1.0, 0.0]]
    label, score = classifier().label_of("一段")
    assert label in ("bad", "good")
    assert 0.5 <= score <= 1


@pytest.mark.parametrize(("width", "error"), [(16, 1e-4), (8, 0.02)])
def test_rounded_weights_are_near(width: int, error: float) -> None:
    weights = np.random.default_rng(2).normal(size=(4096, 1)).astype(np.float32)
    whole, scale = rounded(weights, width)
    assert np.abs(whole).max() <= (1 << (width - 1)) - 1
    assert np.abs(whole * scale - weights).mean() < error
    assert rounded(np.zeros((4, 1), np.float32), width)[0].tolist() == [[0]] * 4
