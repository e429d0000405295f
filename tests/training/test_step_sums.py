"""The sums of a step: by source against each sample's own loss, on every layout, and with a field more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from helpers.processes import run_processes
from helpers.tiny_run import run_config, train, write_tokens
from steel_megatron.config import ParallelConfig
from steel_megatron.parallel.collectives import all_reduce
from steel_megatron.parallel.grid import Axis, Grid
from steel_megatron.training import engine, step_sums
from steel_megatron.training.output.metrics_rows import read_metrics
from steel_megatron.training.step_sums import Number, Numbers, Samples, StepSums, every_rank, read_sums, summed


def samples(losses: list[float], z_losses: list[float], tokens: list[int], sources: list[int]) -> Samples:
    return Samples(torch.tensor([losses, z_losses]), torch.tensor(tokens), torch.tensor(sources))


def test_each_sample_counts_for_its_source() -> None:
    sums = StepSums.zeros(torch.device("cpu"), sources=3)
    sums.add(samples([2.0, 3.0], [0.5, 0.25], [4, 5], [1, 0]))
    sums.add(samples([5.0], [0.0], [8], [1]))
    assert sums.source_loss.tolist() == [3.0, 7.0, 0.0]
    assert sums.source_loss_tokens.tolist() == [5.0, 12.0, 0.0]
    assert (sums.z_loss, sums.loss_tokens) == (0.75, 17.0)
    (read,) = read_sums([sums])
    assert read.metrics(["a", "b", "c"])["source_loss"] == {"a": 0.6, "b": 7 / 12}


def test_a_loss_that_is_not_finite_stays_with_its_source() -> None:
    sums = StepSums.zeros(torch.device("cpu"), sources=2)
    sums.add(samples([float("nan"), 3.0], [0.0, 0.0], [4, 4], [0, 1]))
    assert sums.source_loss[1] == 3.0


@dataclass
class WithMore(StepSums[Number, Numbers]):
    """Two fields of one's own: declared here, added to in :meth:`add`, shown in :meth:`metrics`."""

    squares: Number = field(metadata=summed())
    passes: Numbers = field(metadata=summed(every_rank, each="sources"))

    def add(self: Any, samples: Samples) -> None:
        StepSums.add(self, samples)
        self.squares += samples.losses_2B[0].double().square().sum()
        self.passes += 1.0

    def metrics(self: Any, sources: Sequence[str]) -> dict[str, Any]:
        return {**StepSums.metrics(self, sources), "squares": self.squares, "passes": self.passes}


def read_on_a_rank() -> tuple[list[int], list[dict[str, Any]]]:
    """On one of two pipeline stages: the lengths of what the ranks summed, and what is read of two steps."""
    grid = Grid.create(ParallelConfig(pipeline_model_parallel_size=2), "cpu")
    lengths: list[int] = []

    def noting(numbers_N: torch.Tensor, axis: Axis) -> Any:
        lengths.append(len(numbers_N))
        return all_reduce(numbers_N, axis)

    steps = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step_sums, "all_reduce", noting)
        for step in (1.0, 2.0):
            own = WithMore.zeros(grid.device, sources=2)
            own.add(samples([3.0 * step, 4.0], [0.0, 0.0], [4, 2], [0, 1]))
            steps.append(own.reduced(grid))
            steps[-1].grad_norm = torch.tensor(step)
    return lengths, [read.metrics(["a", "b"]) for read in read_sums(steps)]


def test_a_field_of_ones_own_travels_with_the_others() -> None:
    for lengths, rows in run_processes(read_on_a_rank, 2):
        assert lengths == [9 + 1 + 2] * 2  # one call for a step
        assert [row["squares"] for row in rows] == [25.0, 52.0]  # of the last stage alone
        assert [row["passes"] for row in rows] == [[2.0, 2.0]] * 2  # of both
        assert [row["grad_norm"] for row in rows] == [1.0, 2.0]
        assert [row["source_loss"] for row in rows] == [{"a": 0.75, "b": 2.0}, {"a": 1.5, "b": 2.0}]


def test_a_field_of_ones_own_is_in_the_metrics_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "StepSums", WithMore)
    train(run_config(tmp_path, train_iters=3, eval_iters=0, precision="fp32"))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(row["squares"] > row["loss"] and row["passes"] == [4.0] for row in rows)


def two_sources(folder: Path) -> Path:
    """A run over two sources, the second of which comes in with the second step."""
    for seed, name in enumerate(("wiki", "web")):
        write_tokens(folder / name, seed=seed)
    phases = [
        {"sources": {"wiki": {"path": "wiki", "weight": 1}}},
        {"from": 8, "sources": {"wiki": 1, "web": {"path": "web", "weight": 1}}},
    ]
    (folder / "phases.yaml").write_text(yaml.safe_dump(phases))
    return run_config(
        folder,
        data_path=None,
        phases=str(folder / "phases.yaml"),
        train_iters=3,
        eval_interval=3,
        precision="fp32",
        tensorboard=True,
        save_interval=100,
    )


def test_metrics_and_tensorboard_have_each_source(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(two_sources(tmp_path))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["source_tokens"] for row in rows] == [
        {"web": 0, "wiki": 128},
        {"web": 64, "wiki": 192},
        {"web": 128, "wiki": 256},
    ]
    assert rows[0]["source_loss"] == pytest.approx({"wiki": rows[0]["loss"]}, rel=1e-6)
    for row in rows[1:]:
        assert sum(row["source_loss"].values()) / 2 == pytest.approx(row["loss"], rel=1e-6)
        assert row["source_loss"]["web"] != row["source_loss"]["wiki"]
    assert rows[2]["valid_source_loss"] == pytest.approx({"wiki": rows[2]["valid_loss"]}, rel=1e-6)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("source_tokens/web")] == [0, 64, 128]
    assert [event.step for event in events.Scalars("source_loss/web")] == [2, 3]


@pytest.mark.parametrize(
    ("flags", "processes"),
    [
        pytest.param((), 2, id="dp2", marks=pytest.mark.slow),
        pytest.param(("--tensor-model-parallel-size", "2", "--pipeline-model-parallel-size", "2"), 4, id="tp2-pp2"),
    ],
)
def test_every_layout_has_the_same_losses(tmp_path: Path, flags: tuple[str, ...], processes: int) -> None:
    config = two_sources(tmp_path)
    train(config, "--save", str(tmp_path / "one"), "--no-tensorboard")
    train(config, "--save", str(tmp_path / "many"), "--no-tensorboard", *flags, processes=processes)
    one, many = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "many"))
    for left, right in zip(one, many, strict=True):
        assert right["source_loss"] == pytest.approx(left["source_loss"], rel=1e-5)
        assert right["source_tokens"] == left["source_tokens"]
        assert right.get("valid_source_loss", {}) == pytest.approx(left.get("valid_source_loss", {}), rel=1e-5)
