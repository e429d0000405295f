"""A run as a whole: what it is made of, what it refuses before any work, and what it leaves."""

from __future__ import annotations

import logging
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

import steel_megatron
from helpers.built_run import built
from helpers.curves import assert_same_checkpoint, curve
from helpers.tiny_run import run_config, train
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import ConfigError, SteelError, load_run_config
from steel_megatron.ops import cpu_products
from steel_megatron.training import run
from steel_megatron.training.loop import Callback
from steel_megatron.training.output.lock import FolderLock
from steel_megatron.training.output.metrics_rows import read_metrics
from steel_megatron.training.run import callbacks_of, describe, set_up_logging


def test_the_loss_falls_and_validation_follows(tmp_path):
    train(run_config(tmp_path, train_iters=60, eval_interval=20, save_interval=1000))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    valid = [row["valid_loss"] for row in rows if "valid_loss" in row]
    assert [row["step"] for row in rows] == list(range(1, 61))
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert len(valid) == 3
    assert valid[-1] < valid[0]


def test_data_parallel_trains_the_same_run(tmp_path):
    """fp32, so that only the order of sums differs."""
    config = run_config(tmp_path, precision="fp32")
    train(config, "--save", str(tmp_path / "one"))
    train(config, "--save", str(tmp_path / "two"), processes=2)
    train(config, "--save", str(tmp_path / "plain"), "--no-use-distributed-optimizer", processes=2)
    curves = [
        torch.tensor([[row["loss"], row["grad_norm"]] for row in read_metrics(tmp_path / name / "metrics.jsonl")])
        for name in ("one", "two", "plain")
    ]
    torch.testing.assert_close(curves[1], curves[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(curves[2], curves[0], rtol=1e-5, atol=0)


def test_configuration_errors_come_before_any_work(tmp_path):
    config = run_config(tmp_path, global_batch_size=7)
    output = train(config, status=2)
    assert "--global-batch-size 7 with micro-batch 2" in output
    assert not (tmp_path / "run").exists()


def test_the_effective_configuration_is_saved_and_runs_again(tmp_path):
    config = run_config(tmp_path, train_iters=3)
    train(config, "--lr", "0.005")
    saved = tmp_path / "run" / "config.yaml"
    assert yaml.safe_load(saved.read_text())["optimizer"]["lr"] == 0.005
    train(saved, "--save", str(tmp_path / "again"))
    losses = [[row["loss"] for row in read_metrics(tmp_path / name / "metrics.jsonl")] for name in ("run", "again")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("granularity", ["full", "selective"])
def test_recomputation_changes_nothing(tmp_path, granularity):
    knobs = {"train_iters": 3, "precision": "fp32", "hidden_dropout": 0.1, "attention_dropout": 0.1}
    config = run_config(tmp_path, **knobs)
    train(config)
    train(config, "--save", str(tmp_path / "again"), "--recompute-granularity", granularity)
    losses = [[row["loss"] for row in read_metrics(tmp_path / name / "metrics.jsonl")] for name in ("run", "again")]
    assert losses[0] == losses[1]


def test_packing_options(tmp_path):
    train(run_config(tmp_path, train_iters=4), "--reset-position-ids", "--reset-attention-mask")
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["loss_tokens"] == 128


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"lr_warmup_iters": 13}, "a warm-up of 13 iters"),
        ({"activation": "swiglo"}, "did you mean swiglu"),
        ({"load": "nowhere"}, "no such folder"),
        ({"callback": "sample_text"}, "sample_texts"),
    ],
    ids=["schedule", "activation", "start", "callback"],
)
def test_what_is_impossible_is_refused_before_there_is_a_folder(tmp_path, monkeypatch, knobs, said):
    monkeypatch.setattr(run, "initialize", lambda *_: pytest.fail("processes have begun"))
    with pytest.raises(SteelError, match=f"(?s){said}"):
        steel_megatron.train(load_run_config(run_config(tmp_path), knobs))
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_complete_says_so_and_touches_nothing(tmp_path):
    config = run_config(tmp_path)
    train(config)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert "the run is complete: step 12, 96 samples" in train(config)
    state = steel_megatron.train(load_run_config(config))
    assert (state.step, state.consumed_samples) == (12, 96)
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert after == before
    assert "nothing is set aside" in train(config, "--ckpt-step", "12", "--branch", "again")


def loaders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("loader")]


@pytest.mark.parametrize("where", ["build_components", "load_start", "callbacks_of", "describe"])
def test_a_start_that_fails_lets_go_of_all(tmp_path, monkeypatch, where):
    """The folder is free, no thread reads on, and the same process may try again."""
    config = load_run_config(run_config(tmp_path))

    def fail(*_: Any, **__: Any) -> None:
        raise LookupError(where)

    with monkeypatch.context() as patch:
        patch.setattr(run, where, fail)
        with pytest.raises(LookupError, match=where):
            steel_megatron.train(config)
    FolderLock(tmp_path / "run").release()
    assert not loaders()
    assert steel_megatron.train(config).step == 12


def test_a_step_that_fails_is_done_again_by_the_next_start(tmp_path, before_step):
    config = run_config(tmp_path, hidden_dropout=0.1)
    train(config, "--save", str(tmp_path / "whole"))

    def fail() -> None:
        raise LookupError("at step 7")

    before_step({7: fail})
    with pytest.raises(LookupError):
        train(config)
    assert not loaders()
    before_step({})
    train(config)
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")
    assert_same_checkpoint(tmp_path / "run", tmp_path / "whole", 12)


def test_back_to_a_step_with_another_batch_is_one_run_however_often_it_stops(tmp_path):
    config = run_config(tmp_path)
    larger = ["--global-batch-size", "16"]
    train(config, "--save", str(tmp_path / "once"), "--exit-interval", "4")
    train(config, "--save", str(tmp_path / "once"), *larger)
    train(config)
    back = ["--ckpt-step", "4", *larger]
    train(config, *back, "--exit-interval", "6")
    assert CheckpointStore(tmp_path / "run").steps() == [4, 6]
    train(config, *back, "--exit-interval", "5")  # at step 10
    train(config, *larger)
    assert curve(tmp_path / "run") == curve(tmp_path / "once")
    assert_same_checkpoint(tmp_path / "run", tmp_path / "once", 12)


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    config = load_run_config(run_config(tmp_path), {"save": None, "tensorboard": True})
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert steel_megatron.train(config).step == 12
    assert list(here.iterdir()) == []


def names(config: Any, components: Any, folder: Path | None, *outside: Callback) -> list[str]:
    return [type(callback).__name__ for callback in callbacks_of(config, components, folder, 0.0, (), outside)]


class Mine(Callback):
    pass


def test_the_order_of_callbacks(tmp_path):
    """Those of the run's own see validation and throughput, and what they add is written and saved."""
    knobs = {"eval_iters": 1, "split": "90,10,0", "profile": True, "manual_gc": True, "tensorboard": True}
    with built(tmp_path, **knobs) as (config, components):
        every = [
            "Profiling",
            "Exits",
            "Throughput",
            "Validation",
            "Mine",
            "MetricsFile",
            "TensorboardEvents",
            "Console",
        ]
        every += ["Checkpointing", "DataFiles", "GarbageCollection"]
        assert names(config, components, tmp_path, Mine()) == every
        files = {"MetricsFile", "TensorboardEvents", "Checkpointing", "Mine"}
        assert names(config, components, None) == [name for name in every if name not in files]
        one = SimpleNamespace(rank=1, size=2)
        grid = SimpleNamespace(world=one, device=components.grid.device)
        other = SimpleNamespace(grid=grid, valid_data=components.valid_data)
        of_main = {"Profiling", "MetricsFile", "TensorboardEvents", "Console"}
        assert names(config, other, tmp_path, Mine()) == [name for name in every if name not in of_main]
        assert "Profiling" in names(config.replace(profile_ranks=(1,)), other, tmp_path)


def test_weights_and_biases_is_asked_for_in_vain_where_it_is_not(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with built(tmp_path, wandb_project="mine") as (config, components), pytest.raises(ConfigError, match="wandb"):
        callbacks_of(config, components, tmp_path, 0.0)


@pytest.mark.parametrize(("way", "said"), [("fp32", True), ("torch", False)])
def test_the_log_says_what_is_trained_and_how_matrices_are_multiplied(tmp_path, monkeypatch, way, said):
    monkeypatch.setenv(cpu_products.VARIABLE, way)
    with built(tmp_path, precision="bf16") as (config, components):
        told = describe(config, components)
    assert "26,784 parameters on this rank, vocabulary 101 padded to 128, bf16" in told
    assert "4 heads (2 of keys and values) of 8" in told
    assert "2 × 1 dp, 8 samples of 16 tokens per step; 12 steps, 1,536 tokens" in told
    assert ("matmuls: stored in bf16, multiplied by fp32 arithmetic" in told) == said


@pytest.mark.parametrize(("rank", "printed"), [(0, ["told", "warned"]), (3, ["[rank 3] warned"])])
def test_the_log_is_the_main_ranks_and_warnings_everyones(capsys, rank, printed):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        set_up_logging(rank)
        logging.getLogger("steel_megatron.test").info("told")
        logging.getLogger("steel_megatron.test").warning("warned")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert capsys.readouterr().out.splitlines() == printed
