"""metrics.jsonl holds each step once, whatever was cut off; tensorboard gets finite numbers only."""

from __future__ import annotations

import json
import math
import sys
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import ConfigError
from steel_megatron.training.callbacks.metrics import MetricsFile, TensorboardEvents, WandbRun, scalars
from steel_megatron.training.output.metrics_rows import read_metrics, truncate_metrics


def trainer_at(step: int) -> SimpleNamespace:
    return SimpleNamespace(state=SimpleNamespace(step=step))


@given(steps=st.integers(1, 20), kept=st.integers(0, 20), cut=st.integers(0, 30))
def test_resume_drops_later_steps_and_a_cut_line(tmp_path_factory, steps, kept, cut):
    path = tmp_path_factory.mktemp("metrics") / "metrics.jsonl"
    text = "".join(json.dumps({"step": step, "loss": step / 7}) + "\n" for step in range(1, steps + 1))
    path.write_text(text + json.dumps({"step": steps + 1, "loss": 1.0})[: min(cut, 20)])
    truncate_metrics(path, kept)
    assert [row["step"] for row in read_metrics(path)] == list(range(1, min(steps, kept) + 1))


def test_lines_are_there_at_once_and_continue(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    first = MetricsFile(path)
    first.on_start(trainer_at(0))
    for step in (1, 2, 3):
        first.on_metrics(trainer_at(step), [{"step": step, "loss": float("nan")}])
    assert [row["loss"] for row in read_metrics(path)] == [None] * 3  # JSON has no NaN
    second = MetricsFile(path)
    second.on_start(trainer_at(2))
    second.on_metrics(trainer_at(3), [{"step": 3, "loss": 0.5}])
    second.close()
    first.close()
    assert [(row["step"], row["loss"]) for row in read_metrics(path)] == [(1, None), (2, None), (3, 0.5)]


def test_wandb_gets_the_scalars_and_is_named_when_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        WandbRun("project", None, tmp_path)
    calls = []
    fake = SimpleNamespace(
        init=lambda **options: calls.append(("init", options["project"], options["config"])),
        log=lambda numbers, step: calls.append(("log", numbers, step)),
        finish=lambda: calls.append(("finish",)),
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    trainer = SimpleNamespace(state=SimpleNamespace(step=7), config=SimpleNamespace(to_dict=lambda: {"model": {}}))
    run = WandbRun("project", "name", tmp_path)
    run.on_start(trainer)
    run.on_metrics(trainer, [{"step": 6, "loss": 2.5}, {"step": 7, "loss": 1.5}])
    run.on_end(trainer)
    assert calls == [
        ("init", "project", {"model": {}}),
        ("log", {"train/loss": 2.5}, 6),
        ("log", {"train/loss": 1.5}, 7),
        ("finish",),
    ]


def test_a_service_that_fails_does_not_end_the_run(monkeypatch, tmp_path, caplog):
    def fails(*_, **__):
        raise RuntimeError("no network")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(log=fails, finish=fails))
    run = WandbRun("project", None, tmp_path)
    run.on_metrics(trainer_at(1), [{"step": 1, "loss": 2.5}])
    run.on_end(trainer_at(1))
    assert caplog.text.count("Weights & Biases takes no numbers: RuntimeError: no network; training goes on") == 1


def test_tensorboard_events_can_be_read_back(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = TensorboardEvents(tmp_path)
    events.on_start(trainer_at(0))
    events.on_metrics(trainer_at(2), [{"step": step, "loss": step / 4, "valid_loss": 3.0} for step in (1, 2)])
    events.close()
    found = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in found.Scalars("train/loss")] == [(1, 0.25), (2, 0.5)]
    assert found.Scalars("valid/loss")[0].value == 3.0


def test_scalars_are_finite_numbers_by_group():
    found = scalars({"step": 3, "loss": 2.0, "valid_loss": 1.0, "mfu": None, "grad_norm": math.inf, "skipped": False})
    assert found == {"train/loss": 2.0, "valid/loss": 1.0, "train/skipped": 0.0}


def test_what_a_power_cut_left_in_the_file_is_passed_over(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xb0\x00\xff\n12\n[1]\n{"text": "no step"}\n{"step": 2}\n{"step": 3}\n{"ste')
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
    truncate_metrics(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
