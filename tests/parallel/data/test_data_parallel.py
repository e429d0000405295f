"""Data parallel: the same gradients and parameters however the batch is spread."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from helpers.processes import run_processes
from helpers.toy_model import ToyModel, toy_batch, whole_gradients, whole_tensors
from steel_megatron.config import ParallelConfig
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid

SAMPLES, MICRO_BATCHES = 8, 2


def accumulate(model: ToyModel, data_parallel: DataParallel, grid: Grid, seed: int = 0) -> None:
    """One step's gradients over SAMPLES samples: this rank's share in MICRO_BATCHES micro-batches."""
    tokens, labels = toy_batch(SAMPLES, seed=seed)
    own = SAMPLES // grid.dp.size
    data_parallel.zero_grads()
    for i in range(MICRO_BATCHES):
        start = grid.dp.rank * own + i * own // MICRO_BATCHES
        rows = slice(start, start + own // MICRO_BATCHES)
        if i == MICRO_BATCHES - 1:
            data_parallel.last_micro_batch()
        model.loss(tokens[rows], labels[rows]).backward()
    data_parallel.finish_grads()


def update(data_parallel: DataParallel, rate: float = 0.01) -> None:
    """Plain gradient descent on the shards."""
    for shard in data_parallel.shards:
        shard.param_rows.sub_(rate * shard.grad_rows.to(shard.param_rows.dtype))
    data_parallel.gather_parameters()


def train(grid: Grid, tied: bool = False, steps: int = 3, **options: Any) -> tuple[ToyModel, DataParallel]:
    """A few steps; the last update's gather is awaited."""
    model = ToyModel(grid, tied=tied)
    data_parallel = DataParallel([model], grid, bucket_size=200, **options)
    for step in range(steps):
        accumulate(model, data_parallel, grid, seed=step)
        update(data_parallel)
    data_parallel.wait_parameters()
    return model, data_parallel


def plain_train(tied: bool = False, steps: int = 3, rate: float = 0.01) -> dict[str, Tensor]:
    """The same with nothing but torch."""
    model = ToyModel(Grid.single(), tied=tied)
    for step in range(steps):
        tokens, labels = toy_batch(SAMPLES, seed=step)
        model.loss(tokens, labels).backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.data.sub_(rate * parameter.grad)
            parameter.grad = None
    return whole_tensors(model)


@pytest.mark.parametrize("tied", [False, True])
def test_one_process_equals_plain_torch(tied):
    model, data_parallel = train(Grid.single(), tied=tied, shard=True)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not data_parallel.sharded
    for name, expected in plain_train(tied=tied).items():
        torch.testing.assert_close(whole_tensors(model)[name], expected, rtol=1e-5, atol=1e-6)


def test_gradients_are_kept_in_fp32_over_micro_batches():
    """A bf16 model: the sum of many small gradients does not stall, as a bf16 buffer's would."""
    model = ToyModel(Grid.single(), dtype=torch.bfloat16)
    data_parallel = DataParallel([model], Grid.single(), shard=False)
    tokens, labels = toy_batch(2)
    model.loss(tokens, labels).backward()
    once = {name: grad.clone() for name, grad in whole_gradients(model).items()}
    data_parallel.zero_grads()
    for _ in range(1000):
        model.loss(tokens, labels).backward()
    for name, grad in whole_gradients(model).items():
        torch.testing.assert_close(grad, 1000 * once[name], rtol=1e-4, atol=1e-4)


def test_activation_recomputation_still_fills_the_buffer():
    """Recomputation hands back detached tensors; the gradient must find its parameter all the same."""
    plain, recomputed = ToyModel(Grid.single()), ToyModel(Grid.single())
    owners = [DataParallel([model], Grid.single(), shard=False) for model in (plain, recomputed)]
    tokens, labels = toy_batch(2)
    plain.loss(tokens, labels).backward()
    checkpoint(recomputed.loss, tokens, labels, use_reentrant=False).backward()
    assert all(parameter.grad is None for parameter in owners[1].parameters)
    for name, grad in whole_gradients(recomputed).items():
        assert torch.equal(grad, whole_gradients(plain)[name]), name


def test_a_frozen_parameter_is_left_alone():
    model = ToyModel(Grid.single())
    model.embedding.weight.requires_grad_(False)
    data_parallel = DataParallel([model], Grid.single(), shard=False)
    model.loss(*toy_batch(2)).backward()
    assert len(data_parallel.parameters) == len(list(model.parameters())) - 1
    assert not hasattr(model.embedding.weight, "main_grad")
    assert model.embedding.weight.grad is None


VARIANTS: dict[str, dict[str, Any]] = {
    "zero": {"shard": True},
    "zero, nothing overlapped": {"shard": True, "overlap_grad_reduce": False, "overlap_param_gather": False},
    "all-reduce": {"shard": False},
    "all-reduce, not overlapped": {"shard": False, "overlap_grad_reduce": False},
}


def every_variant() -> dict[str, Any]:
    """Weights and gradients of each variant, tied or not, and what only real processes can show."""
    grid = Grid.create(ParallelConfig(), "cpu")
    found: dict[str, Any] = {}
    for tied in (False, True):
        for name, options in VARIANTS.items():
            model, data_parallel = train(grid, tied=tied, **options)
            found[f"{name}, tied {tied}"] = whole_tensors(model)
            assert data_parallel.sharded == options["shard"]
            assert all(parameter.grad is None for parameter in model.parameters())
    again, _ = train(grid, shard=True)
    found["again"] = whole_tensors(again)
    owned = [torch.zeros_like(p) for p in again.parameters()]
    _, data_parallel = train(grid, shard=True, steps=0)
    for shard in data_parallel.shards:
        index = next(i for i, p in enumerate(data_parallel.parameters) if p is shard.parameter)
        owned[index][shard.first_row : shard.first_row + len(shard.param_rows)] += 1
    for count in owned:
        dist.all_reduce(count)
        assert (count == 1).all(), "each row has exactly one owner"
    found["ddp"] = distributed_data_parallel(grid)
    unawaited_gather_is_noticed(grid)
    return found


def distributed_data_parallel(grid: Grid, steps: int = 3, rate: float = 0.01) -> dict[str, Tensor]:
    """The same training by torch's DistributedDataParallel, whose gradients are means over ranks."""
    model = ToyModel(Grid.single())
    model.forward = model.loss  # type: ignore[method-assign]  # DDP hooks forward
    wrapped = nn.parallel.DistributedDataParallel(model)
    own = SAMPLES // grid.dp.size
    for step in range(steps):
        tokens, labels = toy_batch(SAMPLES, seed=step)
        rows = slice(grid.dp.rank * own, (grid.dp.rank + 1) * own)
        wrapped(tokens[rows], labels[rows]).backward()
        for parameter in model.parameters():
            assert parameter.grad is not None
            parameter.data.sub_(rate * grid.dp.size * parameter.grad)
            parameter.grad = None
    return whole_tensors(model)


def unawaited_gather_is_noticed(grid: Grid) -> None:
    """Reading a weight behind its module's back while it is still being gathered is an error, not a wrong loss."""
    model = ToyModel(grid)
    data_parallel = DataParallel([model], grid, shard=True)
    accumulate(model, data_parallel, grid)
    update(data_parallel)
    with pytest.raises(RuntimeError, match="used before its values were gathered"):
        (model.norm.weight * 2.0).sum().backward()
    data_parallel.wait_parameters()


@pytest.mark.parametrize("world_size", [4])
def test_every_variant_equals_one_process(world_size):
    ranks = run_processes(every_variant, world_size)
    expected = {tied: plain_train(tied=tied) for tied in (False, True)}
    for found in ranks:
        assert torch.equal(found["again"]["head.weight"], found["zero, tied False"]["head.weight"]), "run to run"
        for tied in (False, True):
            for name, weights in expected[tied].items():
                for variant in VARIANTS:
                    torch.testing.assert_close(found[f"{variant}, tied {tied}"][name], weights, rtol=1e-5, atol=1e-6)
                for first, second in (
                    ("zero", "zero, nothing overlapped"),
                    ("all-reduce", "all-reduce, not overlapped"),
                ):
                    pair = (found[f"{variant}, tied {tied}"][name] for variant in (first, second))
                    assert torch.equal(*pair), f"{name}: overlap changes nothing"
        for name, weights in expected[False].items():
            torch.testing.assert_close(found["ddp"][name], weights, rtol=1e-5, atol=1e-6)
    for name in expected[False]:
        for found in ranks[1:]:
            assert torch.equal(found["zero, tied False"][name], ranks[0]["zero, tied False"][name]), "ranks agree"
