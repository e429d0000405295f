"""The page says what the scores are, shows texts in their order, and how far classifiers agree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.classified_texts import chinese_and_english, prose_and_code, write_records
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.classify import TrainSettings, train_classifier
from steel_megatron.corpus.classify.language import LANGUAGE_MODEL
from steel_megatron.corpus.classify.model import Features
from steel_megatron.corpus.classify.report import write_report


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    prose, code = prose_and_code()
    paths = {name: [str(write_records(folder / f"{name}.jsonl", texts))] for name, texts in (("a", code), ("b", prose))}
    for name, seed in (("one", 1), ("two", 2)):
        train_classifier(paths, folder / f"{name}.classifier", TrainSettings(Features(bits=12), epochs=2, seed=seed))
    write_records(folder / "pages.jsonl", chinese_and_english()[1] + code)
    return folder


def test_the_page_of_two_models(world: Path) -> None:
    models = [str(world / "one.classifier"), str(world / "two.classifier")]
    done = write_report(models, [world / "pages.jsonl"], world / "page.html")
    deciles = done.content["deciles"]
    ranks = [example["rank"] for decile in deciles for example in decile["examples"]]
    assert len(deciles) == 10
    assert ranks == sorted(ranks)
    assert ranks[-1] == 1.0
    (pair,) = done.content["agreement"]
    assert pair["models"] == ["one", "two"]
    assert 0.9 < pair["correlation"] <= 1
    assert 0.5 < pair["shared_best"] <= 1
    for model in done.content["models"]:
        assert sum(count for _, _, count in model["histogram"]) == done.texts
        least = list(model["least_scores"].values())
        assert least == sorted(least, reverse=True)
    page = (world / "page.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2
    assert len(re.findall("<pre>", page)) == len(ranks)
    assert "<h2>Agreement</h2>" in page
    assert "shared of the best 10%" in page


def test_markup_in_texts_is_text(world: Path, tmp_path: Path) -> None:
    path = write_records(tmp_path / "x.jsonl", ["<script>alert(1)</script> and some words"] * 3)
    write_report([str(world / "one.classifier")], [path], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "Agreement" not in page


def test_what_gives_no_page(world: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="labels apart"):
        write_report([str(LANGUAGE_MODEL)], [world / "a.jsonl"], tmp_path / "page.html")
    (tmp_path / "empty.jsonl").write_text('{"content": "x"}\n')
    with pytest.raises(DataError, match="no text in the input"):
        write_report([str(world / "one.classifier")], [tmp_path / "empty.jsonl"], tmp_path / "page.html")
