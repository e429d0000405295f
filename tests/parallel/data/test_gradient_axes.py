"""Parameters whose gradients are summed over other axes: experts, under context parallel, cut by rows or kept whole."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from helpers.processes import run_processes
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import OptimizerConfig, ParallelConfig, TrainingConfig
from steel_megatron.optim.optimizer import Optimizer
from steel_megatron.parallel import collectives
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.init import initialize_parameters
from steel_megatron.parallel.parameter import EXPERT, Init, ParamSpec, Piece, attach_spec, row_slices, spec_of
from steel_megatron.parallel.places import axis_sizes

EXPERTS, WIDTH, SAMPLES, LENGTH, STEPS, LR = 4, 6, 4, 6, 3, 0.05
SCALE = 1.0 / (SAMPLES * LENGTH)


class Experts(nn.Module):
    """A matrix that every token sees, and experts: the one at place s of its sequence sees expert s modulo EXPERTS."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid
        own = EXPERTS // grid.ep.size
        self.first = grid.ep.rank * own
        shape = (WIDTH, WIDTH)
        pieces = [Piece(f"experts.{self.first + e}.weight", shape, shape, (0, 0), Init(std=0.3)) for e in range(own)]
        self.shared = attach_spec(
            nn.Parameter(torch.empty(shape)), ParamSpec((Piece("shared", shape, shape, (0, 0), Init(std=0.3)),), True)
        )
        self.experts = attach_spec(
            nn.Parameter(torch.empty(own * WIDTH, WIDTH)), ParamSpec(tuple(pieces), True, summed_over=EXPERT)
        )
        self.scale = attach_spec(
            nn.Parameter(torch.empty(WIDTH)),
            ParamSpec((Piece("scale", (WIDTH,), (WIDTH,), (0,), Init("ones")),), False),
        )
        initialize_parameters(self.parameters(), seed=3)

    def forward(self, x_BSH: Tensor, places_S: Tensor) -> Tensor:
        """Of this rank's tokens by what all have, of its ep group's tokens by its experts: a sum over tokens."""
        everyones = collectives.all_gather(x_BSH.contiguous(), self.grid.ep, 1).wait()
        expert_of_S = collectives.all_gather(places_S.contiguous(), self.grid.ep, 0).wait() % EXPERTS
        total = (x_BSH @ self.shared.T * self.scale).tanh().square().sum()
        for number, weight in enumerate(self.experts.view(-1, WIDTH, WIDTH)):
            total = total + (everyones[:, expert_of_S == self.first + number] @ weight.T).tanh().square().sum()
        return total


def train(grid: Grid, shard: bool, whole: tuple[str, ...], clip: float = 0.2) -> tuple[Optimizer, list[float]]:
    model = Experts(grid)
    owner = DataParallel([model], grid, shard=shard, bucket_size=60, whole=whole)
    optimizer = Optimizer(owner, OptimizerConfig(clip_grad=clip), TrainingConfig(precision="fp32"), grid)
    norms = []
    rows, columns = SAMPLES // grid.dp.size, LENGTH // grid.cp.size
    for step in range(STEPS):
        x_BSH = torch.randn(SAMPLES, LENGTH, WIDTH, generator=torch.Generator().manual_seed(step))
        own = slice(grid.dp.rank * rows, (grid.dp.rank + 1) * rows)
        places_S = torch.arange(grid.cp.rank * columns, (grid.cp.rank + 1) * columns)
        owner.zero_grads()
        owner.last_micro_batch()
        model(x_BSH[own, places_S], places_S).backward()
        owner.finish_grads()
        norms.append(float(optimizer.step(LR, SCALE).grad_norm))
        owner.gather_parameters()
    owner.wait_parameters()
    return optimizer, norms


def weights(optimizer: Optimizer) -> dict[str, Tensor]:
    """Every named tensor that this rank has, whole."""
    found = {}
    for parameter in optimizer.data_parallel.parameters:
        for piece, block in row_slices(parameter, 0, parameter.detach()):
            found[piece.name] = block.tensor.clone()
    return found


def same_on_every_layout(layouts: list[tuple[int, int, str]], folder: Path) -> None:
    for shard, whole in itertools.product((True, False), ((), ("matrix",))):
        expected, norms = train(Grid.single(), shard, whole)
        for cp, ep, order in layouts:
            sizes = axis_sizes(ParallelConfig(), dist.get_world_size(), cp=cp, ep=ep)
            grid = Grid.create(ParallelConfig(rank_order=order), sizes=sizes)
            optimizer, found = train(grid, shard, whole)
            case = f"cp {cp}, ep {ep}, {order}, sharded {shard}, whole {whole}"
            assert found == pytest.approx(norms, rel=1e-5), case
            for name, tensor in weights(optimizer).items():
                torch.testing.assert_close(tensor, weights(expected)[name], rtol=1e-5, atol=1e-6, msg=f"{name}: {case}")
            check_shards(optimizer, grid, shard, bool(whole))
            checkpoint_has_all(CheckpointStore(folder / case), optimizer, expected)


def checkpoint_has_all(store: CheckpointStore, optimizer: Optimizer, expected: Optimizer) -> None:
    """What the ranks write together is what one process has: experts by their own names, each tensor whole."""
    store.save(1, optimizer.slices(), {"state": {"step": 1}})
    blocks = expected.slices()
    assert store.tensors(1).keys() == blocks.keys()
    for name, tensor in store.read_tensors(1, blocks):
        # In one process a tensor is one block: nothing is cut.
        torch.testing.assert_close(tensor, blocks[name].tensor, rtol=1e-4, atol=1e-6, msg=name)


def check_shards(optimizer: Optimizer, grid: Grid, shard: bool, whole: bool) -> None:
    """Each element of the state lies on one rank of the parameter's data axes, or on all; whole matrices on one."""
    owner = optimizer.data_parallel
    for bucket, axis in zip(owner.buckets, owner._axes, strict=True):
        specs = [spec_of(owner.parameters[i]) for i in bucket.items]
        assert len({spec.summed_over for spec in specs}) == 1
        assert axis is grid.over(*specs[0].data_axes)
        assert bucket.shards == (axis.size if shard else 1)
    for parameter in owner.parameters:
        rows = sum(len(part.param_rows) for part in owner.shards if part.parameter is parameter)
        axis = grid.over(*spec_of(parameter).data_axes)
        assert not (whole and parameter.dim() == 2) or rows in (0, len(parameter))
        total = collectives.all_reduce(torch.tensor(rows), axis).wait()
        assert total == len(parameter) * (1 if shard else axis.size)


@pytest.mark.parametrize(
    ("processes", "layouts"),
    [
        (2, [(1, 2, "tp-dp-pp"), (2, 1, "tp-dp-pp"), (2, 2, "tp-dp-pp")]),
        (4, [(2, 2, "tp-cp-ep-dp-pp"), (2, 2, "tp-cp-dp-ep-pp"), (1, 2, "tp-dp-pp"), (2, 4, "tp-dp-cp-ep-pp")]),
    ],
)
def test_gradients_and_updates_are_those_of_one_process(tmp_path, processes, layouts):
    run_processes(same_on_every_layout, processes, layouts, tmp_path)


def test_other_axes_are_refused():
    piece = Piece("w", (2, 2), (2, 2), (0, 0))
    with pytest.raises(ValueError, match=r"summed over \('ep',\)"):
        ParamSpec((piece,), True, summed_over=("ep",))
