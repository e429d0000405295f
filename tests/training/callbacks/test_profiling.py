"""A trace of some steps: those that the run has made, whole or not at all, and at no cost to the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.small_disk import fill, mounted
from helpers.tiny_run import run_config, train
from steel_megatron.checkpoint.store import CheckpointStore


def flags(start: int, end: int) -> list[str]:
    return ["--profile", "--profile-step-start", str(start), "--profile-step-end", str(end)]


def traces(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "profile").iterdir())


@pytest.mark.parametrize(
    ("steps", "more", "name"),
    [
        ((2, 3), [], "trace_rank0_steps2-2.json"),
        ((2, 9), ["--exit-interval", "3"], "trace_rank0_steps2-3.json"),
        ((4, 90), [], "trace_rank0_steps4-4.json"),
    ],
    ids=["one step", "the run stops before its end", "it is longer than the run"],
)
def test_it_is_named_after_the_steps_that_it_holds(tmp_path, steps, more, name):
    output = train(run_config(tmp_path, train_iters=4, eval_iters=0), *flags(*steps), *more)
    assert traces(tmp_path / "run") == [name]
    path = tmp_path / "run" / "profile" / name
    assert f"{path} (open in ui.perfetto.dev)" in output
    events = json.loads(path.read_text())["traceEvents"]
    assert any("aten::" in event.get("name", "") for event in events)


def test_steps_that_are_never_made_are_told(tmp_path):
    output = train(run_config(tmp_path, train_iters=4, eval_iters=0), *flags(5, 7))
    assert "no profile: the run made none of the steps 5 to 6" in output
    assert not (tmp_path / "run" / "profile").exists()


def test_a_run_that_fails_lets_the_profiler_go(tmp_path, before_step):
    """Torch has one at a time: whoever tries again in a notebook gets the trace."""

    def fail() -> None:
        raise ZeroDivisionError

    config = run_config(tmp_path, train_iters=4, eval_iters=0)
    before_step({3: fail})
    with pytest.raises(ZeroDivisionError) as kept:  # with all that its frames hold
        train(config, *flags(2, 4))
    before_step({})
    train(config, *flags(2, 4))
    assert traces(tmp_path / "run") == ["trace_rank0_steps2-3.json"]
    assert kept


def test_a_disk_that_is_full_costs_the_trace_alone(tmp_path, before_step):
    """Torch's writer does not say so."""
    config = run_config(tmp_path, train_iters=4, eval_iters=0)
    with mounted(tmp_path / "disk", "4m") as disk:
        before_step({3: lambda: fill(disk / "filler"), 4: (disk / "filler").unlink})
        output = train(config, "--save", str(disk / "run"), *flags(2, 4))
        assert "the profile is lost" in output
        assert "is there room?" in output
        assert "open in ui.perfetto.dev" not in output
        assert traces(disk / "run") == []
        assert CheckpointStore(disk / "run").newest() == 4


def test_a_file_in_the_place_of_its_folder_costs_the_trace_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "profile").write_text("mine")
    output = train(run_config(tmp_path, train_iters=4, eval_iters=0), *flags(2, 3))
    assert "the profile is lost" in output
    assert "training goes on" in output
    assert (tmp_path / "run" / "profile").read_text() == "mine"
