"""The z-loss is added to what is minimised, and is a metric beside the cross entropy."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.tiny_run import VOCABULARY, run_config, train
from steel_megatron.config import load_run_config
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid
from steel_megatron.training.output.metrics_rows import read_metrics


def test_it_is_a_metric_of_its_own_and_changes_the_gradient(tmp_path):
    config = run_config(tmp_path, precision="fp32", train_iters=3, eval_interval=3)
    train(config, "--save", str(tmp_path / "without"))
    train(config, "--save", str(tmp_path / "with"), "--z-loss-coeff", "0.01")
    without, found = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("without", "with"))
    assert "z_loss" not in without[0]
    # The cross entropy alone, of the same initial weights.
    assert found[0]["loss"] == pytest.approx(without[0]["loss"], rel=1e-6)
    assert found[0]["grad_norm"] != without[0]["grad_norm"]
    # Initial weights are small: all logits are next to 0.
    assert found[0]["z_loss"] == pytest.approx(0.01 * math.log(VOCABULARY) ** 2, rel=0.02)
    assert found[-1]["valid_loss"] != without[-1]["valid_loss"]
    assert math.isclose(sum(found[0]["source_loss"].values()), found[0]["loss"], rel_tol=1e-6)


def test_gradients_are_those_of_the_sum_over_fp64_logits(tmp_path):
    config = load_run_config(run_config(tmp_path)).model
    model = GPT(config, Grid.single(), dtype=torch.float32, seed=3)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, VOCABULARY, (2, 9), generator=generator)
    mask = torch.rand(2, 8, generator=generator) < 0.7
    logits = model(tokens[:, :-1]).double()
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
    total = ((losses + 0.1 * logits.logsumexp(-1).square()) * mask).sum()
    exact = torch.autograd.grad(total, list(model.parameters()))
    loss = model.loss(tokens[:, :-1], tokens[:, 1:], mask, z_loss=0.1)[0]
    assert loss.item() == pytest.approx(total.item(), rel=1e-6)
    found = torch.autograd.grad(loss, list(model.parameters()))
    for ours, theirs in zip(found, exact, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
