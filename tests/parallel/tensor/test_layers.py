"""Tensor and sequence parallel layers give what one rank gives: loss, gradients, norm."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor, nn

from helpers.processes import run_processes
from helpers.toy_model import (
    HEAD,
    HIDDEN,
    VOCAB,
    ToyModel,
    assert_blocks_equal,
    toy_batch,
    whole_gradients,
)
from steel_megatron.config import ParallelConfig
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Axis, Grid
from steel_megatron.parallel.parameter import row_slices, slices_of, spec_of
from steel_megatron.parallel.tensor.layers import ColumnParallelLinear, Out, RowParallelLinear
from steel_megatron.parallel.tensor.vocab import VocabParallelEmbedding

SAMPLES = 4


def mesh_of(tp: int, rank: int = 0) -> Grid:
    """A place in a tensor-parallel group without its processes: enough to build layers."""
    return dataclasses.replace(Grid.single(), tp=Axis("tp", tp, rank, None, tuple(range(tp))))


def reference(tied: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one process over all samples."""
    model = ToyModel(Grid.single(), tied=tied)
    owner = DataParallel([model], Grid.single(), shard=False)
    loss = model.loss(*toy_batch(SAMPLES))
    loss.backward()
    owner.finish_grads()
    return loss.detach(), whole_gradients(model)


def compare_layouts(tensor_sizes: tuple[int, ...]) -> int:
    """Checks every combination of options against one process; returns how many there were."""
    count = 0
    for tp, sequence_parallel, tied, overlap, shard in itertools.product(
        tensor_sizes, (False, True), (False, True), (False, True), (False, True)
    ):
        parallel = ParallelConfig(tensor_model_parallel_size=tp, sequence_parallel=sequence_parallel)
        grid = dataclasses.replace(Grid.create(parallel), overlap_tensor_parallel=overlap)
        assert grid.sequence_parallel == sequence_parallel
        model = ToyModel(grid, tied=tied)
        data_parallel = DataParallel([model], grid, shard=shard, bucket_size=200)
        tokens, labels = toy_batch(SAMPLES)
        own = SAMPLES // grid.dp.size
        rows = slice(grid.dp.rank * own, (grid.dp.rank + 1) * own)
        data_parallel.last_micro_batch()
        loss = model.loss(tokens[rows], labels[rows])
        loss.backward()
        data_parallel.finish_grads()
        total = loss.detach().clone()
        if grid.dp.size > 1:
            torch.distributed.all_reduce(total, group=grid.dp.group)
        expected_loss, expected = reference(tied)
        torch.testing.assert_close(total, expected_loss, rtol=1e-5, atol=1e-5)
        for part in data_parallel.shards:
            assert_blocks_equal(
                row_slices(part.parameter, part.first_row, part.grad_rows), expected, rtol=1e-4, atol=1e-5
            )
        count += 1
    return count


@pytest.mark.parametrize(("world_size", "tensor_sizes"), [(4, (2, 4))])
def test_tensor_parallel_equals_one_rank(world_size, tensor_sizes):
    assert run_processes(compare_layouts, world_size, tensor_sizes) == [16 * len(tensor_sizes)] * world_size


@pytest.mark.parametrize("tp", [1, 2, 4])
def test_initial_weights_do_not_depend_on_the_layout(tp):
    whole = {piece.name: block.tensor for p in ToyModel(mesh_of(1)).parameters() for piece, block in slices_of(p)}
    whole = {name: tensor[:VOCAB] if len(tensor) == 64 else tensor for name, tensor in whole.items()}
    covered = 0
    for rank in range(tp):
        for parameter in ToyModel(mesh_of(tp, rank)).parameters():
            covered += assert_blocks_equal(slices_of(parameter), whole, rtol=0, atol=0)
    assert covered >= sum(tensor.numel() for tensor in whole.values())


@pytest.mark.parametrize(
    ("heads", "tp", "expected"),
    [
        (4, 1, [(0, 24, 1)]),
        (4, 2, [(0, 12, 1), (12, 12, 1)]),
        (2, 4, [(0, 6, 2), (0, 6, 2), (6, 6, 2), (6, 6, 2)]),
        (1, 2, [(0, 6, 2), (0, 6, 2)]),
    ],
)
def test_heads_spread_over_ranks(heads, tp, expected):
    out = Out("key", heads * HEAD, HEAD)
    assert [out.share(mesh_of(tp, rank).tp) for rank in range(tp)] == expected


def test_heads_that_do_not_spread_are_refused():
    with pytest.raises(ValueError, match=r"key: 18 features in units of 6 do not spread over 2 tp ranks"):
        Out("key", 18, 6).share(mesh_of(2).tp)
    with pytest.raises(ValueError, match=r"output: 18 features in units of 6 over 2 tp ranks"):
        RowParallelLinear(18, 4, name="output", bias=False, grid=mesh_of(2), dtype=torch.float32, unit=6)


def test_pieces_name_the_block_of_this_rank():
    outs = [Out("a.query", 24, HEAD), Out("a.key", 6, HEAD)]
    layer = ColumnParallelLinear(HIDDEN, outs, bias=True, grid=mesh_of(2, 1), dtype=torch.float32)
    assert layer.sizes == [12, 6]
    query, key = spec_of(layer.weight).pieces
    assert (query.name, query.shape, query.global_shape, query.offset) == (
        "a.query.weight",
        (12, HIDDEN),
        (24, HIDDEN),
        (12, 0),
    )
    assert (key.name, key.offset, key.replicas, key.counts_on(0), key.counts_on(1)) == (
        "a.key.weight",
        (0, 0),
        2,
        True,
        False,
    )
    assert [piece.name for piece in spec_of(layer.bias).pieces] == ["a.query.bias", "a.key.bias"]
    embedding = VocabParallelEmbedding(50, 128, 4, name="e", grid=mesh_of(2, 1), dtype=torch.float32)
    (piece,) = spec_of(embedding.weight).pieces
    assert (piece.offset, piece.rows, piece.shape) == ((64, 0), 50, (64, 4))


def test_one_rank_is_the_plain_layer():
    """Same bits as nn.Linear and nn.Embedding, forward and backward, with and without the gradient buffer."""
    x = torch.randn(2, 3, HIDDEN, requires_grad=True)
    layer = ColumnParallelLinear(HIDDEN, [Out("a", 8)], bias=True, grid=Grid.single(), dtype=torch.float32)
    plain = nn.Linear(HIDDEN, 8)
    with torch.no_grad():
        layer.weight.copy_(plain.weight)
        assert layer.bias is not None
        layer.bias.copy_(plain.bias)
    grad = torch.randn(2, 3, 8)
    expected = torch.autograd.grad(plain(x), [x, plain.weight, plain.bias], grad)
    assert torch.equal(layer(x), plain(x))
    for found, wanted in zip(torch.autograd.grad(layer(x), [x, layer.weight, layer.bias], grad), expected, strict=True):
        assert torch.equal(found, wanted)
    for parameter in (layer.weight, layer.bias):
        parameter.main_grad = torch.zeros_like(parameter)
    layer(x).backward(grad)
    assert layer.weight.grad is None
    assert layer.bias.grad is None
    assert torch.equal(x.grad, expected[0])
    torch.testing.assert_close(layer.weight.main_grad, expected[1], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(layer.bias.main_grad, expected[2], rtol=1e-6, atol=1e-6)
