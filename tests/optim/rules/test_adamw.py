"""Moments in bf16: near those in fp32, and the same on every layout and backend."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from helpers.apex_stand_in import use_stand_in
from helpers.kernels import set_backend
from helpers.processes import run_processes
from helpers.toy_run import LR, Run
from steel_megatron.config import ParallelConfig
from steel_megatron.parallel.grid import Grid

BF16 = {"exp_avg_dtype": "bf16", "exp_avg_sq_dtype": "bf16"}
UNIT = 2.0**-7  # a bf16 number's distance to the next, at most, by its size


def moments(run: Run) -> dict[str, torch.Tensor]:
    return {name: b.tensor.clone() for name, b in run.optimizer.slices().items() if ".exp_avg" in name}


@pytest.mark.parametrize("knobs", [BF16, {"exp_avg_dtype": "bf16"}, {"exp_avg_sq_dtype": "bf16"}])
@pytest.mark.parametrize("backend", ["auto", "torch", "apex"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_step_is_that_of_fp32_but_for_the_rounding_of_moments(monkeypatch, knobs, backend, precision):
    set_backend(monkeypatch, "auto" if backend == "apex" else backend)
    if backend == "apex":
        use_stand_in(monkeypatch)
    run, exact = Run(Grid.single(), precision=precision, **knobs), Run(Grid.single(), precision=precision)
    for one in (run, exact):
        one.train(0, 1)
    for slot, other in zip(run.optimizer.slots, exact.optimizer.slots, strict=True):
        # The step uses what it computed, before it is rounded.
        torch.testing.assert_close(slot.master, other.master, rtol=1e-6, atol=1e-8)
        assert slot.states["exp_avg"].dtype == (torch.bfloat16 if "exp_avg_dtype" in knobs else torch.float32)
        assert slot.states["exp_avg_sq"].dtype == (torch.bfloat16 if "exp_avg_sq_dtype" in knobs else torch.float32)
        for name, state in slot.states.items():
            torch.testing.assert_close(state.float(), other.states[name], rtol=UNIT, atol=1e-20)


def test_a_second_moment_falls_with_its_gradients():
    """By less than half a unit in the last place a step, where rounding to nearest would leave it as it is."""
    run = Run(Grid.single(), **BF16)
    run.optimizer.rule.config = replace(run.optimizer.rule.config, adam_beta2=0.999)
    for slot in run.optimizer.slots:
        slot.states["exp_avg_sq"].fill_(1.0)
        slot.shard.grad_rows.zero_()
    for _ in range(500):
        run.optimizer.step(LR, 1.0)
    mean = torch.cat([slot.states["exp_avg_sq"].float().flatten() for slot in run.optimizer.slots]).mean()
    assert math.isclose(mean, 0.999**500, rel_tol=0.02)


def equal_share(run: Run, whole: dict[str, torch.Tensor]) -> float:
    """Of the run's elements of moments, those with the bits of the whole tensors' elements."""
    same = count = 0
    for name, block in run.optimizer.slices().items():
        if ".exp_avg" in name:
            place = tuple(slice(o, o + n) for o, n in zip(block.offset, block.tensor.shape, strict=True))
            same += int((block.tensor == whole[name][place]).sum())
            count += block.tensor.numel()
    return same / count


def layouts() -> None:
    single = Run(Grid.single(), **BF16)
    single.train(0, 1)
    whole = moments(single)
    for tp, shard in ((1, True), (2, True), (2, False), (4, True)):
        run = Run(Grid.create(ParallelConfig(tensor_model_parallel_size=tp)), shard=shard, **BF16)
        run.train(0, 1)
        # Gradients differ in their last bits, which changes the rounding of one element in thousands.
        assert equal_share(run, whole) > 0.995, (tp, shard)
    other_seed = Run(Grid.single(), seed=5, **BF16)
    other_seed.train(0, 1)
    assert equal_share(other_seed, whole) < 0.9


def test_rounding_does_not_depend_on_the_layout():
    run_processes(layouts, 4)


def test_backends_round_alike(monkeypatch):
    runs = []
    for backend in ("auto", "torch"):
        set_backend(monkeypatch, backend)
        runs.append(Run(Grid.single(), **BF16))
        runs[-1].train(0, 1)
    assert equal_share(runs[0], moments(runs[1])) > 0.995
