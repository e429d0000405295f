"""A run that was stopped, however, continues bitwise as if it had not been."""

from __future__ import annotations

import signal

import pytest
import torch

from helpers.curves import assert_same_checkpoint, curve
from helpers.tiny_run import run_config, start, train, wait_for_step
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.training.output.metrics_rows import read_metrics


@pytest.mark.parametrize(
    ("knobs", "processes"),
    [
        pytest.param({"precision": "fp32", "hidden_dropout": 0.1, "attention_dropout": 0.1}, 1, id="fp32-dropout"),
        pytest.param(
            {"precision": "bf16", "exp_avg_dtype": "bf16", "exp_avg_sq_dtype": "bf16", "z_loss_coeff": 0.01},
            2,
            id="bf16-moments-dp2-zero1",
        ),
        pytest.param({"fp8_format": "hybrid"}, 1, id="fp8"),
        pytest.param(
            {"precision": "fp16", "initial_loss_scale": 2.0**40, "hysteresis": 1, "loss_scale_window": 3},
            1,
            id="fp16-dynamic-scale",
        ),
        pytest.param(
            {"train_iters": None, "train_samples": 72, "rampup_batch_size": [4, 2, 24], "micro_batch_size": 2},
            1,
            id="bf16-rampup",
        ),
    ],
)
def test_any_cut_continues_bitwise(tmp_path, knobs, processes):
    """Stopped after 5 steps (not at a save interval) and again after 6, against a run that was never stopped."""
    config = run_config(tmp_path, **knobs)
    train(config, "--save", str(tmp_path / "whole"), processes=processes)
    cut = ["--save", str(tmp_path / "cut")]
    train(config, *cut, "--exit-interval", "5", processes=processes)
    train(config, *cut, "--exit-interval", "6", processes=processes)
    train(config, *cut, processes=processes)
    whole, resumed = curve(tmp_path / "whole"), curve(tmp_path / "cut")
    for row in resumed:
        if row["step"] in (5, 6):  # stopping validates too, which the whole run does not do there
            row["valid_loss"] = None
    assert resumed == whole
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "cut", whole[-1]["step"])


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path):
    config = run_config(tmp_path)
    train(config, "--save", str(tmp_path / "whole"))
    train(config, "--save", str(tmp_path / "cut"), "--exit-interval", "8")
    shard = next((tmp_path / "cut" / "step_0000008").glob("*.distcp"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    output = train(config, "--save", str(tmp_path / "cut"))
    assert f"step_0000008 is not used: {shard.name} is damaged" in output
    assert "continuing" in output
    assert "step 4" in output
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_save_and_leave(tmp_path, number):
    config = run_config(tmp_path, train_iters=100_000, eval_iters=0, save_interval=100_000)
    process = start(config)
    wait_for_step(tmp_path / "run", 2, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert f"got {number.name}" in output
    last = read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["step"]
    assert CheckpointStore(tmp_path / "run").newest() == last


def test_duration_saves_and_leaves(tmp_path):
    config = run_config(tmp_path, train_iters=100_000, eval_iters=0, save_interval=100_000)
    output = train(config, "--exit-duration-in-mins", "0.0001")
    assert "ran for 0.0001 minutes" in output
    assert CheckpointStore(tmp_path / "run").newest() == 1  # noticed, agreed and saved after step 1


def test_moments_change_their_type_between_runs(tmp_path):
    config = run_config(tmp_path, precision="fp32", eval_iters=0, train_iters=8)
    train(config, "--save", str(tmp_path / "whole"))
    moved = ["--save", str(tmp_path / "moved")]
    types = ["--exp-avg-dtype", "bf16", "--exp-avg-sq-dtype", "bf16"]
    train(config, *moved, "--exit-interval", "2")
    train(config, *moved, *types, "--exit-interval", "4")
    train(config, *moved)
    store = CheckpointStore(tmp_path / "moved")
    for step, dtype in ((2, torch.float32), (4, torch.bfloat16), (8, torch.float32)):
        kept = {dtype for name, (_, dtype) in store.tensors(step).items() if ".exp_avg" in name}
        assert kept == {dtype}
    for one, other in zip(curve(tmp_path / "moved"), curve(tmp_path / "whole"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-2 if one["step"] > 2 else 0)
