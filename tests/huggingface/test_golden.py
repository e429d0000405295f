"""What an earlier version exported (golden/run/make.py) is written to the same bytes today, and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from helpers.golden_run import arithmetic, golden_run, hashes
from steel_megatron.cli.main import main


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return golden_run(tmp_path)


def test_an_old_run_is_exported_to_the_same_bytes(golden: dict[str, Any]) -> None:
    assert main(["export", "--load", "run", "--output", "again", "--check"]) == 0
    then, now = ({path.name: path.read_bytes() for path in Path(name).iterdir()} for name in ("exported", "again"))
    assert now.keys() == then.keys()
    for name in ("config.json", "generation_config.json"):
        one, other = (json.loads(files.pop(name)) for files in (then, now))
        for words in (one, other):
            words.pop("transformers_version", None)
        assert one == other
    assert now == then


def test_an_old_export_is_imported(golden: dict[str, Any]) -> None:
    assert main(["import", "--hf", "exported", "--save", "imported"]) == 0
    weights = {name: value for name, value in golden["saved"].items() if name.startswith("model.")}
    assert hashes("imported", 0) == weights
    model = AutoModelForCausalLM.from_pretrained("exported", dtype=torch.bfloat16)
    assert model.num_parameters() == 8416


def test_an_old_run_says_what_it_said(golden: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--load", "run", "--prompt", "the book", "--greedy", "--max-new-tokens", "12"]) == 0
    said = capsys.readouterr().out
    assert said == golden["generated"] if arithmetic() == golden["arithmetic"] else said.startswith("the book")
