"""Training on real texts: good, the same each time, and never over another file."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.classified_texts import chinese_and_english, prose_and_code, write_records
from steel_megatron.config import DataError
from steel_megatron.corpus.classify import TrainSettings, read_classifier, train_classifier
from steel_megatron.corpus.classify.model import Features


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("texts")
    prose, code = prose_and_code()
    return {
        "code": [str(write_records(folder / "code.jsonl", code))],
        "prose": [str(write_records(folder / "prose.jsonl", prose))],
    }


def test_prose_is_told_from_code(labels: dict[str, list[str]], tmp_path: Path) -> None:
    classifier, before = train_classifier(labels, tmp_path / "prose.classifier")
    held_out = classifier.trained["held_out"]
    assert not before
    assert classifier.trained["texts"]["prose"]["held_out"] > 20
    assert held_out["auc"] > 0.99
    assert held_out["accuracy"] > 0.95
    losses = classifier.trained["losses"]
    assert losses == sorted(losses, reverse=True)
    prose, code = classifier.probabilities(["Returns the number of lines that were read.", "x = [y for y in z if y]"])
    assert prose > 0.5 > code
    small, _ = train_classifier(labels, tmp_path / "small.classifier", TrainSettings(Features(bits=14), width=8))
    assert small.trained["held_out"]["auc"] > 0.98
    assert (tmp_path / "small.classifier").stat().st_size < 20_000


def test_languages_are_told_apart(tmp_path: Path) -> None:
    chinese, english = chinese_and_english()
    _, code = prose_and_code()
    given = {"code": code, "en": english, "zh": chinese}
    paths = {name: [str(write_records(tmp_path / f"{name}.jsonl", texts))] for name, texts in given.items()}
    classifier, _ = train_classifier(paths, tmp_path / "language.classifier", TrainSettings(Features(bits=14)))
    assert classifier.trained["held_out"]["accuracy"] > 0.97
    assert classifier.label_of("这是一句中文。")[0] == "zh"
    assert classifier.label_of("This is a sentence.")[0] == "en"


def test_the_same_texts_and_seed_give_the_same_file(labels: dict[str, list[str]], tmp_path: Path) -> None:
    settings = TrainSettings(Features(bits=12), epochs=2)
    files = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        train_classifier(labels, tmp_path / name / "x.classifier", settings)
        files.append((tmp_path / name / "x.classifier").read_bytes())
    assert files[0] == files[1]
    other = TrainSettings(Features(bits=12), epochs=2, seed=2)
    classifier, _ = train_classifier(labels, tmp_path / "other.classifier", other)
    assert classifier.digest != read_classifier(tmp_path / "one" / "x.classifier").digest


def test_nothing_is_replaced_unasked(labels: dict[str, list[str]], tmp_path: Path) -> None:
    path = tmp_path / "x.classifier"
    settings = TrainSettings(Features(bits=10), epochs=1)
    first, before = train_classifier(labels, path, settings)
    again, before_again = train_classifier(labels, path, settings)
    assert (before, before_again) == (False, True)
    assert again.digest == first.digest
    other = TrainSettings(Features(bits=10), epochs=2)
    with pytest.raises(DataError, match="is there already"):
        train_classifier(labels, path, other)
    replaced, _ = train_classifier(labels, path, other, overwrite=True)
    assert replaced.digest != first.digest
    path.write_bytes(b"of somebody else")
    with pytest.raises(DataError, match="is there already"):
        train_classifier(labels, path, settings)


def test_without_held_out_texts_no_metric_is_made_up(labels: dict[str, list[str]], tmp_path: Path) -> None:
    settings = TrainSettings(Features(bits=10), epochs=1, held_out=0.0)
    classifier, _ = train_classifier(labels, tmp_path / "x.classifier", settings)
    assert classifier.trained["held_out"] == {}
