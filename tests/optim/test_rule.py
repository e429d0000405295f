"""A rule from outside goes through everything that AdamW does: layouts, checkpoints, resharding, the memory plan."""

from __future__ import annotations

import itertools
import textwrap
from typing import Any

import pytest
import torch

from helpers.processes import run_processes
from helpers.tiny_run import run_config, train
from helpers.toy_model import assert_blocks_equal, whole_tensors
from helpers.toy_run import LR, SCALE, Run
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import ConfigError, OptimizerConfig, ParallelConfig, load_run_config
from steel_megatron.optim import rule
from steel_megatron.optim.rule import State, rule_of
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import row_slices
from steel_megatron.plan.memory import estimate_memory
from steel_megatron.plan.report import planned
from steel_megatron.training.output.metrics_rows import read_metrics

ROWWISE, WHOLE = "helpers.outside_rules:Rowwise {beta: 0.8}", "helpers.outside_rules:Whole {beta: 0.8}"


def every_layout() -> None:
    expected = Run(Grid.single(), optimizer=ROWWISE)
    norms = expected.train()
    states = {name: block.tensor for name, block in expected.optimizer.slices().items()}
    for tp, shard, given in itertools.product((1, 2, 4), (True, False), (ROWWISE, WHOLE)):
        run = Run(Grid.create(ParallelConfig(tensor_model_parallel_size=tp)), shard=shard, optimizer=given)
        assert run.train() == pytest.approx(norms, rel=1e-4), (tp, shard, given)
        for slot in run.optimizer.slots:
            blocks = row_slices(slot.shard.parameter, slot.shard.first_row, slot.master)
            assert_blocks_equal(blocks, whole_tensors(expected.model), rtol=1e-4, atol=1e-5)
        for name, block in run.optimizer.slices().items():
            place = tuple(slice(o, o + n) for o, n in zip(block.offset, block.tensor.shape, strict=True))
            torch.testing.assert_close(block.tensor, states[name][place], rtol=1e-3, atol=1e-5, msg=name)


def test_a_rule_from_outside_computes_one_thing_on_every_layout():
    run_processes(every_layout, 4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_not_finite_changes_nothing(precision):
    run = Run(Grid.single(), precision=precision, optimizer="helpers.outside_rules:Rowwise {dtype: bf16}")
    run.train(0, 2)
    before = {name: block.tensor.clone() for name, block in run.optimizer.slices().items()}
    weights = whole_tensors(run.model)
    assert {name.split(".")[1] for name in before} == {"momentum", "row_square"} | (
        {"master"} if precision == "bf16" else set()
    )
    run.backward(2)
    run.model.norm.weight.main_grad[0] = torch.inf
    run.optimizer.step(LR, SCALE)
    for name, block in run.optimizer.slices().items():
        assert torch.equal(block.tensor, before[name]), name
    assert all(torch.equal(tensor, weights[name]) for name, tensor in whole_tensors(run.model).items())
    assert run.optimizer.slots[0].states["momentum"].dtype == torch.bfloat16


def test_a_run_is_continued_to_the_bit_and_on_another_layout(tmp_path):
    knobs: dict[str, Any] = {"train_iters": 6, "eval_iters": 0, "save_interval": 1000, "bucket_size": 3000}
    config = run_config(tmp_path, precision="fp32", optimizer=ROWWISE, **knobs)
    layout = ["--tensor-model-parallel-size", "2", "--sequence-parallel"]
    whole, cut, moved = tmp_path / "whole", tmp_path / "cut", tmp_path / "moved"
    train(config, "--save", str(whole), *layout, processes=4)
    train(config, "--save", str(cut), "--exit-interval", "3", *layout, processes=4)
    train(config, "--load", str(cut), "--save", str(moved))
    train(config, "--save", str(cut), *layout, processes=4)
    stores = [CheckpointStore(folder) for folder in (whole, cut, moved)]
    names = sorted(stores[0].tensors(6))
    assert {name.split(".")[1] for name in names if name.startswith("optimizer.")} == {"momentum", "row_square"}
    for name, tensor in stores[0].read_tensors(6, names):
        (_, again), (_, elsewhere) = (next(store.read_tensors(6, [name])) for store in stores[1:])
        assert torch.equal(again, tensor), name
        torch.testing.assert_close(elsewhere, tensor, rtol=1e-3, atol=1e-4, msg=name)
    losses = [[row["loss"] for row in read_metrics(folder / "metrics.jsonl")] for folder in (whole, cut)]
    assert losses[0] == losses[1]
    printed = train(config, "--save", str(cut), "--optimizer", "adam", "--train-iters", "8", status=2)
    assert "holds the state of helpers.outside_rules:Rowwise" in printed
    assert "--no-load-optim" in printed
    train(config, "--save", str(cut), "--optimizer", "adamw", "--train-iters", "8", "--no-load-optim")


def test_the_plan_adds_up_what_the_rule_keeps():
    for layout, devices in (({}, 1), ({}, 8), ({"tensor_model_parallel_size": 2}, 4)):
        adam, rowwise, halved = (
            estimate_memory(planned(load_run_config(None, {"optimizer": given, **layout}, "demo")), devices)
            for given in ("adamw", "helpers.outside_rules:Rowwise", "helpers.outside_rules:Rowwise {dtype: bf16}")
        )
        assert adam.moments == 2 * adam.masters
        rows = rowwise.moments - rowwise.masters
        assert 0 < rows < rowwise.masters / 50
        assert halved.moments - rows == rowwise.masters / 2
    whole = estimate_memory(planned(load_run_config(None, {"optimizer": WHOLE}, "demo")), 5)
    rows = estimate_memory(planned(load_run_config(None, {"optimizer": ROWWISE}, "demo")), 5)
    assert rows.masters < whole.masters < 3 * rows.masters, "eight blocks' matrices do not fill five shards evenly"


def test_the_rule_in_the_docstring_works_as_it_stands(tmp_path):
    assert rule.__doc__ is not None
    block = rule.__doc__.split("::\n\n", 1)[1].split("\nShapes:")[0]
    (tmp_path / "lion.py").write_text(textwrap.dedent(block))
    run = Run(Grid.single(), optimizer=f"{tmp_path / 'lion.py'}:Lion {{beta: 0.5}}", clip_grad=0.0, weight_decay=0.1)
    before = run.model.qk.weight.detach().clone()
    run.backward(0)
    gradient = run.model.qk.weight.main_grad.clone() * SCALE
    run.optimizer.step(LR, SCALE)
    torch.testing.assert_close(run.model.qk.weight.detach(), before * (1 - LR * 0.1) - LR * gradient.sign())
    slot = next(slot for slot in run.optimizer.slots if slot.shard.parameter is run.model.qk.weight)
    torch.testing.assert_close(slot.states["momentum"], 0.5 * gradient)


def test_names_of_optimizers(tmp_path):
    assert type(rule_of(OptimizerConfig())) is type(rule_of(OptimizerConfig(optimizer="adamw")))
    for given in ({"optimizer": "adamw"}, {"optimizer": {"optimizer": "adamw", "lr": 1e-3}}):
        file = run_config(tmp_path, **given)
        assert load_run_config(file).optimizer.optimizer == "adamw"
    with pytest.raises(ConfigError, match=r"--optimizer is 'adm'(.|\n)*did you mean adam"):
        load_run_config(None, {"optimizer": "adm"})
    with pytest.raises(ConfigError, match="did you mean beta"):
        rule_of(OptimizerConfig(optimizer="helpers.outside_rules:Rowwise {betta: 0.9}"))
    assert State("rows", per_row=True).shape((3, 4)) == (3,)
