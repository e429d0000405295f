"""Runs of scoring: what is written, kept and counted; the same bytes for any number of workers and after kills."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard

from helpers.classified_texts import chinese_and_english, prose_and_code, write_records
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.classify import ScoreSettings, TrainSettings, read_classifier, score, train_classifier
from steel_megatron.corpus.classify.model import Features


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of three kinds, two classifiers of two of them, one of all."""
    folder = tmp_path_factory.mktemp("world")
    prose, code = prose_and_code()
    chinese, _ = chinese_and_english()
    for name, texts in (("prose", prose), ("code", code), ("chinese", chinese)):
        write_records(folder / f"{name}.jsonl", texts)
    paths = {name: [str(folder / f"{name}.jsonl")] for name in ("prose", "code", "chinese")}
    settings = TrainSettings(Features(bits=14), epochs=3)
    train_classifier({"bad": paths["code"], "good": paths["prose"]}, folder / "prose.classifier", settings)
    train_classifier({"bad": paths["code"], "good": paths["chinese"]}, folder / "zh.classifier", settings)
    train_classifier(paths, folder / "kind.classifier", settings)
    return folder


def read(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(folder.rglob("*.jsonl.zst")):
        data = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
        found += [json.loads(line) for line in data.splitlines()]
    return found


def inputs(world: Path) -> list[str]:
    return [str(world / f"{name}.jsonl") for name in ("prose", "code", "chinese")]


def files_of(folder: Path) -> dict[str, bytes]:
    """Of an output and of what is beside it, without times in manifests."""
    beside = [path for path in folder.parent.glob(f"{folder.name}.*") if path.is_file()]
    return {path.name: path.read_bytes() for path in sorted([*folder.rglob("*.zst"), *beside])}


def test_records_get_the_scores_of_their_texts_and_keep_their_bytes(world: Path, tmp_path: Path) -> None:
    odd = [
        '{"text": "An odd  record.",   "n": 1e2, "quality": "old"}',
        '{"text": "half \\ud83d"}',
        '{"n": 1}',
        "",
        "{bad",
        '\ufeff{"text": "Marked with a byte order mark."}',
    ]
    (tmp_path / "odd.jsonl").write_text("\n".join(odd), encoding="utf-8")
    model = str(world / "prose.classifier")
    done = score([model], [str(world / "prose.jsonl"), str(tmp_path / "odd.jsonl")], tmp_path / "out")
    records = read(tmp_path / "out")
    classifier = read_classifier(model)
    for record in records:
        assert record["quality"] == pytest.approx(float(classifier.probabilities([record["text"]])[0]), abs=2e-6)
        assert 0 <= record["quality_rank"] <= 1
    assert done.manifest.rejects == {"lone_surrogate": 1, "missing_field": 1, "bad_json": 1}
    assert done.manifest.records == len(records) + 3
    rejects = [json.loads(line) for line in (tmp_path / "out.rejects.jsonl").read_bytes().splitlines()]
    assert [reject["byte"] for reject in rejects] == [58, 82, 92]
    first = json.loads((world / "prose.jsonl").read_bytes().splitlines()[0])
    assert [{**record, "quality": 0, "quality_rank": 0} for record in records if record.get("id") == first["id"]] == [
        {**first, "quality": 0, "quality_rank": 0}
    ]


def test_the_best_of_several_models_are_kept(world: Path, tmp_path: Path) -> None:
    models = [str(world / "prose.classifier"), str(world / "zh.classifier")]
    done = score(models, inputs(world), tmp_path / "best", ScoreSettings(best_share=0.5))
    whole = score(models, inputs(world), tmp_path / "all")
    everything = read(tmp_path / "all")
    ranks = sorted((record["quality_rank"] for record in everything), reverse=True)
    kept = read(tmp_path / "best")
    assert done.manifest.documents == len(kept)
    assert done.manifest.records == whole.manifest.records == whole.manifest.documents == len(everything)
    assert len(kept) == pytest.approx(0.5 * len(everything), rel=0.02)
    assert sorted((record["quality_rank"] for record in kept), reverse=True) == ranks[: len(kept)]
    assert all({"quality_prose", "quality_zh"} <= record.keys() for record in kept)


def test_labels_are_written_and_kept(world: Path, tmp_path: Path) -> None:
    settings = ScoreSettings(field="kind", labels=("chinese",))
    done = score([str(world / "kind.classifier")], inputs(world), tmp_path / "out", settings)
    records = read(tmp_path / "out")
    assert {record["kind"] for record in records} == {"chinese"}
    assert all(record["kind_score"] > 1 / 3 for record in records)
    there = len((world / "chinese.jsonl").read_bytes().splitlines())
    assert done.manifest.documents == pytest.approx(there, rel=0.05)
    assert not (tmp_path / "out.ranks.json").exists()


def test_a_least_score_leaves_out_the_rest(world: Path, tmp_path: Path) -> None:
    model = [str(world / "prose.classifier")]
    score(model, inputs(world), tmp_path / "all")
    score(model, inputs(world), tmp_path / "some", ScoreSettings(least_score=0.9))
    assert read(tmp_path / "some") == [record for record in read(tmp_path / "all") if record["quality"] >= 0.9]


def test_the_bytes_are_the_same_for_any_number_of_workers(world: Path, tmp_path: Path) -> None:
    made = []
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        target = tmp_path / str(workers) / "out"
        settings = ScoreSettings(best_share=0.4)
        score([str(world / "zh.classifier")], inputs(world), target, settings, workers=workers, part_bytes=40_000)
        made.append(files_of(target))
    assert made[0] == made[1]
    assert "000000.jsonl.zst" in made[0]


def test_a_killed_run_goes_on_and_leaves_the_same_bytes(world: Path, tmp_path: Path) -> None:
    """Each run is killed at its 21st file that is to take its name, until one has fewer to name."""
    model, wanted, target = str(world / "zh.classifier"), tmp_path / "a" / "out", tmp_path / "b" / "out"
    wanted.parent.mkdir()
    target.parent.mkdir()
    score([model], inputs(world), wanted, part_bytes=30_000)
    program = (
        "import os, signal\n"
        "from steel_megatron.corpus.classify import score\n"
        "moves, real = 0, os.replace\n"
        "def replace(*paths):\n"
        "    global moves\n"
        "    moves += 1\n"
        "    if moves == 21: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    real(*paths)\n"
        "os.replace = replace\n"
        f"score([{model!r}], {inputs(world)!r}, {str(target)!r}, part_bytes=30_000)\n"
    )
    kills = 0
    while (status := subprocess.run([sys.executable, "-c", program], check=False).returncode) == -signal.SIGKILL:
        kills += 1
    assert status == 0
    assert kills >= 3
    assert files_of(target) == files_of(wanted)
    assert [path.name for path in target.parent.iterdir() if path.name.endswith(".partial")] == []


def test_a_cut_file_is_an_error_or_is_read_as_far_as_it_goes(world: Path, tmp_path: Path) -> None:
    packed = zstandard.ZstdCompressor(write_checksum=True).compress((world / "prose.jsonl").read_bytes())
    (tmp_path / "cut.jsonl.zst").write_bytes(packed[: len(packed) * 9 // 10])
    model, given = [str(world / "zh.classifier")], [tmp_path / "cut.jsonl.zst"]
    with pytest.raises(DataError, match="damaged or cut"):
        score(model, given, tmp_path / "out")
    done = score(model, given, tmp_path / "out", skip_damaged=True)
    assert list(done.manifest.damaged) == ["cut.jsonl.zst"]
    assert done.manifest.documents == len(read(tmp_path / "out"))
    with pytest.raises(DataError, match="read in part"):
        score(model, given, tmp_path / "out")


def test_what_is_there_is_told_and_not_replaced(world: Path, tmp_path: Path) -> None:
    model, target = [str(world / "zh.classifier")], tmp_path / "out"
    score(model, inputs(world)[:1], target)
    assert score(model, inputs(world)[:1], target).done_before
    with pytest.raises(DataError, match="is there already, and it was made with least_score"):
        score(model, inputs(world)[:1], target, ScoreSettings(least_score=0.5))
    next(target.rglob("*.zst")).unlink()
    with pytest.raises(DataError, match="its manifest says"):
        score(model, inputs(world)[:1], target)
    assert not score(model, inputs(world)[:1], target, overwrite=True).done_before
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match="it has no manifest"):
        score(model, inputs(world)[:1], tmp_path / "mine")


@pytest.mark.parametrize(
    ("models", "settings", "error"),
    [
        (["prose", "prose"], {}, "each has a name of its own"),
        (["prose", "kind"], {}, "tells 3 labels apart"),
        (["prose", "zh"], {"least_score": 0.5}, "combined as ranks"),
        (["kind"], {"best_share": 0.5}, "use --keep-label"),
        (["kind"], {"labels": ("fr",)}, "labels are prose, code, chinese"),
        (["zh"], {"labels": ("good",)}, "of a classifier of more than two"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    world: Path, tmp_path: Path, models: list[str], settings: dict[str, Any], error: str
) -> None:
    paths = [str(world / f"{name}.classifier") for name in models]
    with pytest.raises(ConfigError) as caught:
        score(paths, inputs(world), tmp_path / "out", ScoreSettings(**settings))
    assert error in str(caught.value)
