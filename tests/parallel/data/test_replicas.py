"""Parts of a gradient that lie on several ranks: heads that they share, slices of the sequence, the tied embedding."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from helpers.processes import run_processes
from steel_megatron.config import ParallelConfig
from steel_megatron.parallel import collectives
from steel_megatron.parallel.data.replicas import sum_over_ends, sum_over_tensor_parallel
from steel_megatron.parallel.grid import Axis, Grid
from steel_megatron.parallel.parameter import DATA, ParamSpec, Piece, attach_spec

WIDTH = 3


@dataclass
class Rows:
    """Rows of a parameter's gradient from ``first_row`` on."""

    parameter: nn.Parameter
    first_row: int
    grad_rows: Tensor


def piece(name: str, rows: int, replicas: int = 1) -> Piece:
    return Piece(name, (rows, WIDTH), (rows, WIDTH), (0, 0), replicas=replicas)


def rows(pieces: tuple[Piece, ...], values: Tensor, first: int = 0, tied: str | None = None, tp: bool = False) -> Rows:
    """A shard whose gradient has ``values`` (rows,), each along its whole row."""
    spec = ParamSpec(pieces, True, tied=tied, summed_over=(*DATA, "tp") if tp else DATA)
    parameter = attach_spec(nn.Parameter(torch.empty(sum(p.shape[0] for p in pieces), WIDTH)), spec)
    return Rows(parameter, first, values.float().unsqueeze(1).repeat(1, WIDTH))


@contextmanager
def counted() -> Iterator[list[int]]:
    """The sizes of all-reduce messages."""
    sizes: list[int] = []
    real = collectives.all_reduce

    def counting(x: Tensor, *more: object) -> collectives.Pending:
        sizes.append(x.numel())
        return real(x, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collectives, "all_reduce", counting)
        yield sizes


def heads_over(ranks: int) -> None:
    """Queries of a rank's own, and keys of which two ranks have one head: what each rank finds afterwards."""
    grid = Grid.create(ParallelConfig(tensor_model_parallel_size=ranks), "cpu")
    rank = grid.tp.rank
    fused = rows((piece("query", 2), piece("key", 2, replicas=2)), torch.tensor([10.0, 11.0, 1.0, 2.0]) + 100 * rank)
    norm = rows((piece("norm", 1),), torch.tensor([float(rank)]), tp=True)
    plain = rows((piece("plain", 1),), torch.tensor([7.0 + rank]))
    with counted() as messages:
        sum_over_tensor_parallel([fused, norm, plain], grid)
    heads = ranks // 2
    assert messages == [(2 * heads + 1) * WIDTH], "all parts in one message, which has room for every head"
    pair = rank - rank % 2  # the first rank that has this head
    own = [10.0 + 100 * rank, 11.0 + 100 * rank]
    both = [2.0 + 100 * (2 * pair + 1), 4.0 + 100 * (2 * pair + 1)]
    assert fused.grad_rows[:, 0].tolist() == [*own, *both]
    assert (fused.grad_rows == fused.grad_rows[:, :1]).all()
    assert norm.grad_rows[0, 0] == sum(range(ranks))
    assert plain.grad_rows[0, 0] == 7.0 + rank


@pytest.mark.parametrize("ranks", [2, 4])
def test_shared_heads_and_slices_of_the_sequence_are_summed_and_nothing_else(ranks: int) -> None:
    run_processes(heads_over, ranks, ranks)


def cut_between_rows() -> None:
    """ZeRO cuts parameters between rows: here inside the query, and inside the key."""
    grid = Grid.create(ParallelConfig(tensor_model_parallel_size=2), "cpu")
    pieces = (piece("query", 2), piece("key", 3, replicas=2))
    for first, values, expected in ((1, [5, 1, 2], [5, 2, 4]), (3, [2, 3], [4, 6]), (0, [4, 5], [4, 5])):
        shard = rows(pieces, torch.tensor(values), first)
        with counted() as messages:
            sum_over_tensor_parallel([shard], grid)
        assert shard.grad_rows[:, 0].tolist() == expected
        keys = max(first + len(values) - 2, 0) - max(first - 2, 0)
        assert messages == ([keys * WIDTH] if keys else []), "no message about nothing"


def test_a_shard_may_begin_and_end_anywhere() -> None:
    run_processes(cut_between_rows, 2)


def ends() -> None:
    """Three stages: the first and the last have the tied table, the one between has none."""
    grid = Grid.create(ParallelConfig(pipeline_model_parallel_size=3), "cpu")
    stage = grid.pp.rank
    tied = rows((piece("embedding", 2),), torch.tensor([1.0, 2.0]) * 10**stage, tied="vocab")
    # The rows that this rank owns may be a view that does not lie together in memory.
    spread = rows((piece("embedding", 2),), torch.tensor([3.0, 4.0]) * 10**stage, tied="vocab")
    spread.grad_rows = spread.grad_rows.t().contiguous().t()
    other = rows((piece("other", 1),), torch.tensor([5.0 + stage]))
    with counted() as messages:
        sum_over_ends([tied, spread, other], grid)
    assert len(messages) == (0 if stage == 1 else 2)
    expected = [10.0, 20.0] if stage == 1 else [101.0, 202.0]
    assert tied.grad_rows[:, 0].tolist() == expected
    assert spread.grad_rows[:, 2].tolist() == ([30.0, 40.0] if stage == 1 else [303.0, 404.0])
    assert other.grad_rows[0, 0] == 5.0 + stage
    dist.barrier()


def test_the_tied_embedding_is_summed_over_the_first_and_the_last_stage() -> None:
    run_processes(ends, 3)


@pytest.mark.parametrize("sum_up", [sum_over_tensor_parallel, sum_over_ends])
def test_one_rank_sends_nothing(sum_up) -> None:
    shard = rows((piece("key", 2, replicas=1),), torch.tensor([1.0, 2.0]), tied="vocab", tp=True)
    with counted() as messages:
        sum_up([shard], Grid.single())
        sum_up([], dataclasses.replace(Grid.single(), tp=Axis("tp", 2, 0, None, (0, 1)), ends=Axis("ends", 2, 0)))
    assert messages == []
    assert shard.grad_rows[:, 0].tolist() == [1.0, 2.0]
