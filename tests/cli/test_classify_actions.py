"""``steel classify``: flags become settings, and what is printed says how good a classifier is."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.classified_texts import prose_and_code, write_records
from steel_megatron.cli.classify_actions import held_out_lines
from steel_megatron.cli.main import main


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for name, own in zip(("prose", "code"), prose_and_code(), strict=True):
        write_records(folder / f"{name}.jsonl", own)
    return folder


def test_train_then_score(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prose, code = str(texts / "prose.jsonl"), str(texts / "code.jsonl")
    model = str(tmp_path / "prose.classifier")
    line = ["classify", "train", "--good", prose, "--bad", code, "--output", model, "--bits", "12", "--epochs", "2"]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "tells apart bad, good" in out
    assert "on held-out texts: accuracy 0.9" in out
    assert "AUC 0.9" in out
    assert main(line) == 0
    assert capsys.readouterr().out.startswith("nothing to do")
    scoring = ["classify", "score", "--model", model, "--input", prose, code, "--output", str(tmp_path / "best")]
    assert main([*scoring, "--keep-best", "0.25"]) == 0
    assert " records" in capsys.readouterr().out
    assert (tmp_path / "best" / "000000.jsonl.zst").is_file()
    (tmp_path / "bad.jsonl").write_text('{"text": "some words"}\n{bad\n')
    scoring = ["classify", "score", "--model", model, "--input", str(tmp_path / "bad.jsonl")]
    assert main([*scoring, "--output", str(tmp_path / "a.jsonl"), "--strict"]) == 1
    assert main([*scoring, "--output", str(tmp_path / "b.jsonl")]) == 0
    assert "1 not read: bad_json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ([], "no --good"),
        (["--good", "x"], "no --bad"),
        (["--good", "x", "--label", "a", "x"], "labelled in one way"),
        (["--label", "a", "x", "--label", "b"], "--label b without a path"),
        (["--label", "a", "x"], "1 label"),
        (["--good", "x", "--bad", "y", "--bits", "25"], "--bits 25"),
    ],
)
def test_flags_that_cannot_work(flags: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classify", "train", "--output", "never", *flags]) == 2
    assert error in capsys.readouterr().err


def test_what_is_told_of_held_out_texts() -> None:
    assert held_out_lines({}) == ["no text was held out: nothing says how good it is"]
    many = {"accuracy": 0.5, "labels": {"a": {"accuracy": 0.5, "texts": 4, "taken_as": {"b": 2}}}}
    assert held_out_lines(many)[1] == "  a: 0.5000 of 4; taken as 2 b"


def test_a_language_model_tells_the_perplexity_of_held_out_texts(
    texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["classify", "train-ngram", "--input", str(texts / "prose.jsonl"), "--output", str(tmp_path / "x.ngram")]
    assert main([*line, "--order", "3", "--arpa", str(tmp_path / "x.arpa")]) == 0
    assert "held-out texts" in capsys.readouterr().out
    assert (tmp_path / "x.arpa").read_bytes().startswith(b"\\data\\\n")
    assert main([*line, "--order", "3"]) == 0
    assert capsys.readouterr().out.startswith("nothing to do")


def test_a_page_tells_how_far_models_agree(texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [str(tmp_path / f"{seed}.classifier") for seed in "12"]
    for model in models:
        given = ["--good", str(texts / "prose.jsonl"), "--bad", str(texts / "code.jsonl"), "--output", model]
        assert main(["classify", "train", *given, "--bits", "10", "--epochs", "1", "--seed", Path(model).stem]) == 0
    capsys.readouterr()
    flags = ["--input", str(texts / "prose.jsonl"), "--output", str(tmp_path / "page.html")]
    assert main(["classify", "report", "--model", *models, *flags]) == 0
    assert "1 and 2: correlation of ranks" in capsys.readouterr().out
