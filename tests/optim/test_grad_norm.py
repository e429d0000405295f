"""The gradient's norm on one process, and what is said where it is not finite."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.toy_model import ToyModel
from steel_megatron.optim.grad_norm import counted_gradients, gradient_norm, non_finite_error, non_finite_gradients
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_norm_over_all_tensors(dtype):
    norm = gradient_norm([torch.tensor([3.0], dtype=dtype), torch.tensor([[0.0, 4.0]], dtype=dtype)], Grid.single())
    assert norm.item() == pytest.approx(5.0)


def test_squares_that_a_narrow_type_cannot_hold():
    norm = gradient_norm([torch.full((4,), 1e4, dtype=torch.float16)], Grid.single())
    assert norm.item() == pytest.approx(2e4, rel=1e-3)


def test_a_rank_with_nothing_to_count():
    assert gradient_norm([], Grid.single()).item() == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_infinities_and_nan_come_through(bad):
    assert not gradient_norm([torch.tensor([1.0, bad])], Grid.single()).isfinite()


@pytest.mark.parametrize("tied", [False, True])
def test_every_element_of_one_process_counts_once(tied):
    model = ToyModel(Grid.single(), tied=tied)
    data_parallel = DataParallel([model], Grid.single(), shard=False)
    for shard in data_parallel.shards:
        shard.grad_rows.fill_(1.0)
    counted = counted_gradients(data_parallel.shards, Grid.single())
    elements = sum(parameter.numel() for parameter in model.parameters())
    assert gradient_norm(counted, Grid.single()).item() == pytest.approx(math.sqrt(elements))


def test_the_error_names_the_piece_of_a_fused_weight():
    model = ToyModel(Grid.single())
    shards = DataParallel([model], Grid.single(), shard=False).shards
    for shard in shards:
        shard.grad_rows.zero_()
    assert non_finite_gradients(shards, Grid.single()) == []
    next(shard for shard in shards if shard.parameter is model.qk.weight).grad_rows[-1, :2] = math.nan
    error = non_finite_error(shards, Grid.single(), step=7)
    assert "step 7" in error.given
    assert "attention.key.weight (2 of 144 elements on rank 0)" in error.given
    assert "query" not in error.given
