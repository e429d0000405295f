"""Validation: when it runs, what it computes, that it leaves the run as it is, and how a stop ends it."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers.curves import assert_same_checkpoint, curve
from helpers.tiny_run import run_config, start, train, write_tokens
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.training.callbacks import exits
from steel_megatron.training.engine import Engine
from steel_megatron.training.loop import Trainer
from steel_megatron.training.output.metrics_rows import read_metrics


def at_call(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, number: int, action: Callable[[], None]) -> list:
    """Has ``action`` done within one call of a method, the ``number``-th; returns a list that grows with every call."""
    original, calls = getattr(owner, name), []

    def both(*arguments, **named):
        calls.append(len(calls) + 1)
        if len(calls) == number:
            action()
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, both)
    return calls


def sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def rows_of(run: Path) -> list[dict[str, Any]]:
    return list(read_metrics(run / "metrics.jsonl"))


def last_row(tmp_path: Path) -> dict:
    return rows_of(tmp_path / "run")[-1]


def test_a_validation_is_left_at_its_next_batch(tmp_path, monkeypatch):
    batches = at_call(monkeypatch, Engine, "evaluate", 3, sigterm)
    output = train(run_config(tmp_path, eval_iters=10))
    assert len(batches) == 3
    assert "validation left after 3 of 10 batches: got SIGTERM" in output
    assert (last_row(tmp_path)["step"], last_row(tmp_path).get("valid_loss")) == (4, None)
    assert CheckpointStore(tmp_path / "run").newest() == 4


BEGUN = """
from pathlib import Path
from steel_megatron import Callback

class Begun(Callback):
    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_validation_batch(self, trainer) -> None:
        self.path.touch()
"""


def test_sigterm_to_torchrun_in_an_endless_validation_saves_on_all_ranks(tmp_path):
    (tmp_path / "begun.py").write_text(BEGUN)
    begun = tmp_path / "begun"
    knobs = {"train_iters": 100_000, "eval_interval": 2, "eval_iters": 200_000, "save_interval": 100_000}
    config = run_config(tmp_path, callback=f"{tmp_path / 'begun.py'}:Begun {{path: {begun}}}", **knobs)
    process = start(config, processes=2)
    while not begun.exists():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=25)  # torchrun kills after 30 s
    assert "of 200000 batches: got SIGTERM" in output
    assert (last_row(tmp_path)["step"], last_row(tmp_path).get("valid_loss")) == (2, None)
    assert CheckpointStore(tmp_path / "run").newest() == 2, output


def test_a_run_that_was_stopped_in_a_validation_continues_bitwise(tmp_path, monkeypatch):
    config = run_config(tmp_path, eval_iters=3, hidden_dropout=0.1)
    train(config, "--save", str(tmp_path / "whole"))
    with monkeypatch.context() as patch:
        at_call(patch, Engine, "evaluate", 5, sigterm)  # in the second validation, at step 8
        train(config)
    train(config)
    whole, cut = curve(tmp_path / "whole"), curve(tmp_path / "run")
    assert cut[7].pop("valid_loss", None) is None
    del whole[7]["valid_loss"]
    assert cut == whole
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "run", 12)


@pytest.mark.parametrize("iterations", [4, 12], ids=["last step", "interval"])
def test_none_is_begun_on_the_way_out(tmp_path, monkeypatch, iterations):
    validations = at_call(monkeypatch, Engine, "evaluate", 0, sigterm)
    at_call(monkeypatch, Trainer, "train_step", 4, sigterm)
    train(run_config(tmp_path, train_iters=iterations))
    assert (last_row(tmp_path)["step"], CheckpointStore(tmp_path / "run").newest()) == (4, 4)
    assert not validations


def test_time_that_is_up_during_a_validation_ends_it(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(exits.time, "monotonic", lambda: now[0])
    batches = at_call(monkeypatch, Engine, "evaluate", 2, lambda: now.insert(0, 61.0))
    output = train(run_config(tmp_path, eval_iters=5), "--exit-duration-in-mins", "1")
    assert len(batches) == 2
    assert "validation left after 2 of 5 batches: ran for 1 minutes" in output
    assert CheckpointStore(tmp_path / "run").newest() == 4


def test_a_whole_validation_is_the_loss_of_all_its_batches(tmp_path):
    """As one process and as two, each of which has its part of the samples."""
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        train(run_config(folder, eval_iters=3, train_iters=4, precision="fp32"), processes=processes)
        found.append(last_row(folder)["valid_loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_it_runs_at_its_interval_and_behind_the_last_step(tmp_path):
    """Also where numbers are read seldom, and in the row of the step that it is of."""
    train(run_config(tmp_path, eval_interval=5, log_interval=100, save_interval=1000))
    rows = rows_of(tmp_path / "run")
    assert [row["step"] for row in rows if "valid_loss" in row] == [5, 10, 12]
    for row in (rows[4], rows[9], rows[11]):
        assert row["valid_perplexity"] == pytest.approx(math.exp(row["valid_loss"]))
        assert row["valid_source_loss"] == {"data": pytest.approx(row["valid_loss"])}


def test_it_computes_without_dropout_and_z_loss(tmp_path):
    """With a learning rate of 0 the weights stay as they are, so every validation of both runs gives one number."""
    config = run_config(tmp_path, lr=0.0, min_lr=0.0, eval_iters=2)
    noise = ["--hidden-dropout", "0.5", "--attention-dropout", "0.5", "--z-loss-coeff", "0.1"]
    for name, flags in (("plain", []), ("noisy", noise)):
        train(config, *flags, "--save", str(tmp_path / name))
    found = {
        row["valid_loss"] for name in ("plain", "noisy") for row in rows_of(tmp_path / name) if "valid_loss" in row
    }
    assert len(found) == 1
    assert rows_of(tmp_path / "plain")[0]["loss"] != rows_of(tmp_path / "noisy")[0]["loss"]


def test_the_run_is_the_same_without_it(tmp_path):
    """It draws no random numbers, and moves neither the data nor the weights."""
    config = run_config(tmp_path, hidden_dropout=0.2, attention_dropout=0.2, exp_avg_dtype="bf16")
    train(config, "--save", str(tmp_path / "with"), "--eval-interval", "1", "--eval-iters", "2")
    train(config, "--save", str(tmp_path / "without"), "--eval-iters", "0")
    found = curve(tmp_path / "with")
    assert all(row.pop("valid_loss") for row in found)
    assert found == [{key: row[key] for key in row if key != "valid_loss"} for row in curve(tmp_path / "without")]
    assert_same_checkpoint(tmp_path / "with", tmp_path / "without", 12)


def test_a_loss_that_no_number_holds_the_power_of_has_a_bound(tmp_path):
    """exp(50) is as good as any: a row is written, and the run goes on."""
    write_tokens(tmp_path / "data")
    train(run_config(tmp_path, train_iters=4, init_method_std=300.0, lr=0.0, min_lr=0.0, precision="fp32"))
    row = last_row(tmp_path)
    assert row["valid_loss"] > 50
    assert row["valid_perplexity"] == pytest.approx(math.exp(50))
