"""The data of a run that an earlier version left (golden/run/make.py): the same samples, mixtures and packings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.golden_run import golden_run
from steel_megatron.cli.main import main


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return golden_run(tmp_path)


def test_the_samples_of_a_step_are_what_they_were(golden: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    packings = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path().glob("*.packing")}
    assert main(["inspect", "--run", "run", "--step", "4"]) == 0
    assert capsys.readouterr().out == golden["inspected"]
    assert packings
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path().glob("*.packing")} == packings


def test_packings_made_today_are_the_old_ones(golden: dict[str, Any]) -> None:
    old = {path: path.read_bytes() for path in Path().glob("*.packing")}
    for path in old:
        path.unlink()
    assert main(["inspect", "--run", "run", "--step", "4"]) == 0
    new = {path: path.read_bytes() for path in Path().glob("*.packing")}
    assert new
    assert new.items() <= old.items()


def test_a_mixture_is_what_it_was(golden: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mix", "plan", "--run", "run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == golden["planned"]


def test_a_phase_is_added_to_an_old_run(golden: dict[str, Any]) -> None:
    assert main(["mix", "add", "run", "--from", "80", "--weight", "web=1"]) == 0
    assert [phase.get("from") for phase in yaml.safe_load(Path("phases.yaml").read_text())] == [None, 24, 80]
    assert "# from the third step on" in Path("phases.yaml").read_text()
