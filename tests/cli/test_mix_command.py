"""steel mix: the plan of a run, and a phase added while a run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from helpers.tiny_run import run_config, train, write_tokens
from steel_megatron.cli.main import main
from steel_megatron.config import ConfigError
from steel_megatron.samples.mixing.add import with_phase
from steel_megatron.training.output.metrics_rows import read_metrics

PHASES = """# what the run reads
- sources:
    wiki: {path: wiki, weight: 1}  # first
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A run over wiki alone; web lies beside it."""
    for seed, name in enumerate(("wiki", "web")):
        write_tokens(tmp_path / name, seed=seed)
    (tmp_path / "phases.yaml").write_text(PHASES)
    return run_config(
        tmp_path, data_path=None, phases=str(tmp_path / "phases.yaml"), eval_iters=0, split="100,0,0", save_interval=100
    )


def test_a_running_job_takes_an_added_phase_up_at_its_restart(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, phases = tmp_path / "run", tmp_path / "phases.yaml"
    train(config, "--exit-interval", "4")
    flags = ["--weight", "wiki=1", "web=3", "--path", f"web={tmp_path / 'web'}"]
    assert main(["mix", "add", str(run), "--from", "48", "--dry-run", *flags]) == 0
    assert phases.read_text() == PHASES
    assert main(["mix", "add", str(run), "--from", "48", *flags]) == 0
    assert "a phase from sample 48 (step 7) is added; the run has used 32 samples" in capsys.readouterr().out
    assert phases.read_text() == (
        f"{PHASES}- from: 48\n  sources:\n    wiki: 1\n    web: {{path: {tmp_path / 'web'}, weight: 3}}\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
    assert "continuing" in train(config)
    rows = read_metrics(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert [row["source_tokens"].get("web", 0) for row in rows] == [0] * 6 + [16 * 6 * n for n in range(1, 7)]
    whole = tmp_path / "whole"
    train(config, "--save", str(whole))  # the same file from the start gives the same run
    assert [row["loss"] for row in read_metrics(whole / "metrics.jsonl")] == [row["loss"] for row in rows]


def test_what_cannot_be_added_leaves_the_file_alone(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(config, "--exit-interval", "4")
    web = ["--path", f"web={tmp_path / 'web'}"]
    for flags, problem in (
        (["--from", "31", "--weight", "wiki=1"], "from sample 31, of which the run has used 32"),
        (["--from", "40", "--weight", "web=1"], "no path"),
        (["--from", "40", "--weight", "web=1", "--path", "web=nowhere"], "no file"),
        (["--from", "40", "--weight", "web=x", *web], "weight 'x'"),
        (["--from", "40", "--epochs", "web=9", "--weight", "wiki=1", *web], "lower the budgets"),
        (["--from", "40"], "phase without sources"),
        (["--from", "40", "--weight", "wiki=1", *web], "--path of web"),
        (["--from", "40", "--weight", "web=1", "--epochs", "web=1", *web], "stands twice"),
        (["--from", "40", "--weight", "web"], "NAME=VALUE"),
    ):
        assert main(["mix", "add", str(tmp_path / "run"), *flags]) == 2
        assert problem in capsys.readouterr().err
        assert (tmp_path / "phases.yaml").read_text() == PHASES
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_plan(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    phases = yaml.safe_load(PHASES)
    phases.append({"from": 700, "ramp": 400, "sources": {"wiki": 1, "web": {"path": "web", "weight": 1}}})
    (tmp_path / "phases.yaml").write_text(yaml.safe_dump(phases))
    flags = ["--config", str(config), "--train-iters", "200"]
    assert main(["mix", "plan", *flags, "--figure", str(tmp_path / "mix.svg")]) == 0
    text = capsys.readouterr().out
    assert "run: 1,600 samples of 16 tokens, 25,600 tokens" in text
    assert "not in this run" in text
    assert "samples 0 to 700: wiki 100.00 %" in text
    assert "samples 1,100 to 1,600: web 50.00 %, wiki 50.00 %" in text
    assert "<svg" in (tmp_path / "mix.svg").read_text()
    assert main(["mix", "plan", *flags, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    wiki = next(source for source in plan["sources"] if source["name"] == "wiki")
    web = next(source for source in plan["sources"] if source["name"] == "web")
    assert wiki["samples"] == pytest.approx(700 + 300 + 250, abs=10)
    assert wiki["samples"] + web["samples"] == 1600
    assert wiki["epochs"] == wiki["samples"] / wiki["windows"]
    assert wiki["epoch_ends"] == [wiki["windows"], wiki["epoch_ends"][1]]  # alone until it was read once
    assert sum(phase["samples"]["wiki"] for phase in plan["phases"]) == wiki["samples"]
    assert main(["mix", "plan", *flags, "--figure", "mix.gif"]) == 2


def test_a_phase_with_a_budget_keeps_its_length_when_another_follows(tmp_path: Path) -> None:
    text = "  - sources:\n      web: {path: web, weight: 1}\n      wiki: {path: wiki, epochs: 1}\n  # the end\n"
    new = with_phase(text, tmp_path / "p.yaml", {"from": 50, "sources": {"web": 1}}, 16, 100)
    assert new == (
        "  - until: 100\n    sources:\n      web: {path: web, weight: 1}\n      wiki: {path: wiki, epochs: 1}\n"
        "  # the end\n  - from: 50\n    sources: {web: 1}\n"
    )
    flow = "[{sources: {web: {path: web, weight: 1}}}]"
    with pytest.raises(ConfigError, match="not a list with a dash"):
        with_phase(flow, tmp_path / "p.yaml", {"from": 50, "sources": {"web": 1}}, 16, 100)
