"""steel inspect on a run: its samples, and what its steps saw."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.tiny_run import run_config, train
from steel_megatron.cli.main import main
from steel_megatron.tokens.indexed import IndexedDataset


def out_of(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["inspect", *argv]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


@pytest.mark.parametrize("packing", ["none", "best-fit"])
def test_a_step_saw_these_documents(tmp_path: Path, capsys: pytest.CaptureFixture[str], packing: str) -> None:
    run = str(tmp_path / "run")
    train(run_config(tmp_path, packing=packing, train_iters=3, eval_iters=0, split="100,0,0", save_interval=100))
    capsys.readouterr()
    dataset = IndexedDataset(tmp_path / "data")
    seen = json.loads(out_of(capsys, "--run", run, "--step", "2", "--json"))
    assert [sample["sample"] for sample in seen["samples"]] == list(range(8, 16))
    for entry in seen["samples"]:
        sample = json.loads(out_of(capsys, "--run", run, "--sample", str(entry["sample"]), "--json"))
        assert sample["stretches"] == entry["stretches"]
        parts = [
            dataset.document(part["document"])[part["first"] : part["first"] + part["tokens"]]
            for part in entry["stretches"]
        ]
        assert np.concatenate(parts).tolist() == sample["ids"]
        assert all(len(dataset.document(part["document"])) == part["document_tokens"] for part in entry["stretches"])
        if packing == "none":
            assert len(sample["ids"]) == 17
    lines = out_of(capsys, "--run", run, "--step", "2").splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("sample 8: data, epoch 0, window ")


def test_text_with_a_tokenizer_and_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(tmp_path / "run")
    train(run_config(tmp_path, train_iters=2, lr_warmup_iters=0, eval_iters=0, save_interval=100))
    capsys.readouterr()
    null = ["--tokenizer-type", "NullTokenizer", "--vocab-size", "100"]
    text = out_of(capsys, "--run", run, "--sample", "0", *null).splitlines()[1]
    ids = out_of(capsys, "--run", run, "--sample", "0").splitlines()[1]
    assert text == ids  # the NullTokenizer's text is the ids
    for argv, problem in (
        (["--run", run], "--sample N or --step N"),
        (["--run", run, "--sample", "16"], "samples are 0 to 15"),
        (["--run", run, "--step", "3"], "steps are 1 to 2"),
        (["--run", str(tmp_path), "--step", "1"], "config.yaml"),
        ([str(tmp_path / "data"), "--run", run, "--step", "1"], "one of them"),
        ([], "one of them"),
        ([str(tmp_path / "data"), "--packing", "--seq-length", "0"], "1 or more"),
    ):
        assert main(["inspect", *argv]) == 2
        assert problem in capsys.readouterr().err


def test_compare_and_packing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_config(tmp_path)
    data = str(tmp_path / "data")
    assert "the same, in the same order" in out_of(capsys, data, "--compare", data + ".idx")
    assert json.loads(out_of(capsys, data, "--compare", data, "--json"))["first_difference"] is None
    assert "best fit:" in out_of(capsys, data, "--packing", "--seq-length", "64")
    assert len(list(tmp_path.glob("data.best_fit_64_*.packing"))) == 1
