"""The products of tensor-parallel layers: one rank's are torch's, several ranks' are parts of one rank's."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from helpers.kept_tensors import saved_tensors
from helpers.processes import run_processes
from steel_megatron.config import ParallelConfig
from steel_megatron.parallel import collectives
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.products import column_linear, flatten_tokens, linear, row_linear

BATCH, LENGTH, IN, OUT = 2, 4, 8, 12


def tensors() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x (B, S, I), W (O, I), b (O) and dy (B, S, O)."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((BATCH, LENGTH, IN), (OUT, IN), (OUT,), (BATCH, LENGTH, OUT))
    x, weight, bias, dy = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, weight, bias, dy


def parameter(values: Tensor, buffered: bool) -> nn.Parameter:
    """A weight; ``buffered``: with a gradient buffer, which holds 1 everywhere from an earlier micro-batch."""
    made = nn.Parameter(values.clone())
    if buffered:
        made.main_grad = torch.ones_like(made)
    return made


def gradient(made: nn.Parameter) -> Tensor:
    """What was added to the buffer, or what autograd was given."""
    if not hasattr(made, "main_grad"):
        assert made.grad is not None
        return made.grad
    assert made.grad is None
    return made.main_grad - 1


@pytest.mark.parametrize("buffered", [False, True])
@pytest.mark.parametrize("product", [linear, column_linear, row_linear])
def test_one_rank_has_torchs_product_and_gradients(product, buffered):
    x, weight, bias, dy = tensors()
    leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
    expected = torch.nn.functional.linear(*leaves)
    expected.backward(dy)
    x = x.requires_grad_()
    w, b = parameter(weight, buffered), parameter(bias, buffered)
    y = product(x, w, b) if product is linear else product(x, w, b, Grid.single())
    assert torch.equal(y, expected)
    y.backward(dy)
    for found, leaf in zip((x.grad, gradient(w), gradient(b)), leaves, strict=True):
        torch.testing.assert_close(found, leaf.grad, rtol=1e-5, atol=1e-5)


def test_what_nobody_wants_is_not_computed():
    """A frozen weight keeps its buffer; where the input needs no gradient, the weight has its own all the same."""
    x, weight, bias, dy = tensors()
    frozen, b = parameter(weight, buffered=True).requires_grad_(False), parameter(bias, buffered=True)
    leaf = x.clone().requires_grad_()
    linear(leaf, frozen, b).backward(dy)
    assert torch.equal(frozen.main_grad, torch.ones_like(frozen))
    torch.testing.assert_close(leaf.grad, dy @ weight)
    w = parameter(weight, buffered=True)
    linear(x, w).backward(dy)
    torch.testing.assert_close(gradient(w), flatten_tokens(dy).t() @ flatten_tokens(x), rtol=1e-5, atol=1e-5)


def test_the_input_alone_is_saved_and_without_gradients_nothing():
    x, weight, bias, _ = tensors()
    w, b = parameter(weight, buffered=True), parameter(bias, buffered=True)
    with saved_tensors([x]) as saved:
        linear(x, w, b)
    assert saved.bytes == 0
    with torch.no_grad():
        assert linear(x, w).grad_fn is None
    assert torch.equal(w.main_grad, torch.ones_like(w))


@pytest.mark.parametrize("buffered", [False, True])
def test_a_weight_that_is_still_gathered_is_waited_for_first(buffered):
    x, weight, _, _ = tensors()
    w = parameter(torch.full_like(weight, float("nan")), buffered)
    w.await_gather = lambda: w.data.copy_(weight)
    torch.testing.assert_close(linear(x, w), x @ weight.t())


def compare_with_one_rank() -> int:
    """Columns, then rows, in every way; returns how many there were."""
    x, weight, bias, dy = tensors()
    ranks = dist.get_world_size()
    count = 0
    for sequence, overlap, buffered in itertools.product((False, True), repeat=3):
        parallel = ParallelConfig(tensor_model_parallel_size=ranks, sequence_parallel=sequence)
        grid = dataclasses.replace(Grid.create(parallel, "cpu"), overlap_tensor_parallel=overlap)

        def slices(whole: Tensor, grid: Grid = grid) -> Tensor:
            """What a rank has of an activation outside the region."""
            return collectives.own_tokens(whole, grid.tp) if grid.sequence_parallel else whole

        leaves = [t.clone().requires_grad_() for t in (x, weight, bias)]
        torch.nn.functional.linear(*leaves).backward(dy)
        dx, dweight, dbias = (leaf.grad for leaf in leaves)

        own = slices(x).clone().requires_grad_()
        w, b = (parameter(whole.chunk(ranks)[grid.tp.rank], buffered) for whole in (weight, bias))
        with saved_tensors([own]) as saved:
            y = column_linear(own, w, b, grid)
        assert saved.bytes == 0, "the gathered input is not kept"
        features = slice(grid.tp.rank * OUT // ranks, (grid.tp.rank + 1) * OUT // ranks)
        torch.testing.assert_close(y, (x @ weight.t() + bias)[..., features], rtol=1e-5, atol=1e-5)
        y.backward(dy[..., features])
        torch.testing.assert_close(own.grad, slices(dx), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient(w), dweight[features], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient(b), dbias[features], rtol=1e-5, atol=1e-5)

        part = slice(grid.tp.rank * IN // ranks, (grid.tp.rank + 1) * IN // ranks)
        own, w, b = x[..., part].clone().requires_grad_(), parameter(weight[:, part], buffered), nn.Parameter(bias)
        y = row_linear(own, w, b, grid)
        torch.testing.assert_close(y, slices(x @ weight.t() + bias), rtol=1e-5, atol=1e-5)
        y.backward(slices(dy))
        torch.testing.assert_close(own.grad, dx[..., part], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradient(w), dweight[:, part], rtol=1e-5, atol=1e-5)
        total = b.grad.clone()  # each rank's tokens' part of it, where each has a slice
        if sequence:
            dist.all_reduce(total, group=grid.tp.group)
        torch.testing.assert_close(total, dbias, rtol=1e-5, atol=1e-5)
        count += 1
    return count


@pytest.mark.parametrize("ranks", [2, 4])
def test_several_ranks_have_the_parts_of_one_ranks_product(ranks):
    assert run_processes(compare_with_one_rank, ranks) == [8] * ranks
