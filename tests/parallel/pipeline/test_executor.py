"""The executor in real processes: every schedule computes what one process does, to the bit."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers.processes import run_processes
from helpers.toy_pipeline import HANDED_OVER, ToyStage, gradients, in_one_go, toy_micro_batches
from steel_megatron.config import ParallelConfig
from steel_megatron.parallel.data.data_parallel import DataParallel
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.pipeline.actions import Action, Kind, Placement, Schedule
from steel_megatron.parallel.pipeline.checker import check_schedule
from steel_megatron.parallel.pipeline.executor import Executor, Hidden, Output, PassSettings
from steel_megatron.parallel.pipeline.schedules import build_schedule
from steel_megatron.parallel.pipeline.transfers import with_transfers

LOSS_GRADIENT = 0.37


def compare(grid: Grid, schedule: Schedule, recompute: bool = False) -> None:
    """Runs a schedule; this rank's losses and gradients must be those of one process."""
    own = schedule.placement[grid.pp.rank]
    stages = [ToyStage(number, schedule.stages, recompute) for number in own]
    micro_batches = toy_micro_batches(schedule.micro_batches)
    announced: list[int] = []
    outputs = Executor(stages, grid).run(
        schedule,
        iter(micro_batches),
        HANDED_OVER,
        loss_gradient=LOSS_GRADIENT,
        before_last_backward=announced.append,
    )
    expected_losses, expected_gradients = in_one_go(schedule.stages, micro_batches, LOSS_GRADIENT)
    is_last = schedule.stages - 1 in own
    case = f"{schedule.name}, {schedule.ranks} × {schedule.chunks}, {schedule.micro_batches} micro-batches"
    assert len(outputs) == is_last * schedule.micro_batches, case
    for output, loss, (_, target_BH) in zip(outputs, expected_losses, micro_batches, strict=False):
        assert torch.equal(output.result, loss), case
        assert output.samples is target_BH, case
    if not schedule.trains:
        assert all(gradient is None for stage in stages for gradient in gradients(stage)), case
        return
    assert sorted(announced) == list(range(schedule.chunks)), case
    for stage, number in zip(stages, own, strict=True):
        for found, expected in zip(gradients(stage), expected_gradients[number], strict=True):
            assert found is not None, case
            assert expected is not None, case
            assert torch.equal(found, expected), case


def pipeline_mesh() -> Grid:
    world = torch.distributed.get_world_size()
    return Grid.create(ParallelConfig(pipeline_model_parallel_size=world), "cpu")


def every_schedule(counts: list[int]) -> int:
    """All schedules for these numbers of micro-batches, one after the other on the same group."""
    grid = pipeline_mesh()
    runs = 0
    for micro_batches in counts:
        for chunks in (1, 2, 3):
            for name in ("gpipe", "1f1b", "interleaved", "forward"):
                if name == "1f1b" and chunks > 1:
                    continue
                schedule = build_schedule(name, grid.pp.size, micro_batches, chunks)
                compare(grid, schedule, recompute=chunks == 2)
                if name in ("1f1b", "interleaved"):
                    compare(grid, split(schedule))
                runs += 1
        compare(grid, both_ways(grid.pp.size, micro_batches))
    return runs


@pytest.mark.parametrize(
    ("ranks", "counts"),
    [
        (2, [1, 2, 5]),
        (4, [1, 3, 4, 7]),
        pytest.param(3, [1, 2, 3, 4, 5, 8, 10], marks=pytest.mark.slow),
        pytest.param(4, [2, 5, 6, 8, 12, 13], marks=pytest.mark.slow),
    ],
)
def test_every_schedule_equals_one_process(ranks, counts):
    assert run_processes(every_schedule, ranks, counts) == [10 * len(counts)] * ranks


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_one_rank_needs_no_group(chunks):
    for name in ("gpipe", "interleaved", "forward"):
        compare(Grid.single(), build_schedule(name, 1, 4, chunks))


def split(schedule: Schedule) -> Schedule:
    """The schedule with each weight gradient as an action of its own, one backward pass later."""
    orders = []
    for actions in schedule.actions:
        order: list[Action] = []
        waiting: list[Action] = []
        for action in (action for action in actions if not action.kind.communicates):
            order.append(action)
            if action.kind is Kind.BACKWARD:
                order += waiting
                waiting = [action._replace(kind=Kind.WEIGHT_GRADIENT)]
        orders.append(order + waiting)
    peaks = tuple(peak + 1 for peak in schedule.peak_live)
    actions = with_transfers(orders, schedule.placement)
    found = Schedule(f"split {schedule.name}", schedule.micro_batches, schedule.placement, actions, peaks)
    check_schedule(found)
    return found


def both_ways(ranks: int, micro_batches: int) -> Schedule:
    """A placement that no built-in schedule has: down the ranks and up again, so that the turn stays on one rank."""
    placement: Placement = tuple((rank, 2 * ranks - 1 - rank) for rank in range(ranks))
    numbers = range(micro_batches)
    order = [Action(Kind.FORWARD, chunk, i) for chunk in (0, 1) for i in numbers]
    order += [Action(Kind.BACKWARD, chunk, i) for chunk in (1, 0) for i in numbers]
    actions = with_transfers([order] * ranks, placement)
    found = Schedule("both ways", micro_batches, placement, actions, (2 * micro_batches,) * ranks)
    check_schedule(found)
    return found


def chunks_tell_of_their_last_backward() -> list[tuple[int, int]]:
    """(chunk, backward passes of all chunks so far) at each call."""
    grid = pipeline_mesh()
    schedule = build_schedule("interleaved", 2, 4, 2)
    done: list[int] = []
    calls: list[tuple[int, int]] = []

    class Counting(ToyStage):
        def layer(self, x_BH: Tensor) -> Tensor:
            y_BH = super().layer(x_BH)
            if y_BH.requires_grad:
                y_BH.register_hook(lambda _: done.append(1))
            return y_BH

    stages = [Counting(number, 4) for number in schedule.placement[grid.pp.rank]]
    Executor(stages, grid).run(
        schedule, toy_micro_batches(4), HANDED_OVER, before_last_backward=lambda chunk: calls.append((chunk, len(done)))
    )
    return calls


def test_a_chunk_is_announced_just_before_its_last_backward():
    # Groups of two micro-batches: chunk 1 (0, 1), chunk 0 (0, 1), chunk 1 (2, 3), chunk 0 (2, 3).
    assert run_processes(chunks_tell_of_their_last_backward, 2) == [[(1, 5), (0, 7)]] * 2


def with_data_parallel(chunks: int, options: dict[str, Any]) -> None:
    """Two pipelines of two ranks, each with half of the micro-batches; gradients are their sum."""
    grid = Grid.create(ParallelConfig(pipeline_model_parallel_size=2), "cpu")
    assert (grid.pp.size, grid.dp.size) == (2, 2)
    micro_batches = toy_micro_batches(6)
    schedule = build_schedule("interleaved", 2, 3, chunks)
    own = schedule.placement[grid.pp.rank]
    stages = [ToyStage(number, schedule.stages) for number in own]
    data_parallel = DataParallel(stages, grid, grad_dtype=torch.float64, bucket_size=20, **options)
    executor = Executor(stages, grid)
    expected = in_one_go(schedule.stages, micro_batches, LOSS_GRADIENT)[1]
    wanted = {}
    for stage, number in zip(stages, own, strict=True):
        wanted.update(zip(map(id, stage.parameters()), expected[number], strict=True))
    for _ in range(2):  # the second step finds everything as the first did
        data_parallel.zero_grads()
        executor.run(
            schedule,
            micro_batches[grid.dp.rank :: 2],
            HANDED_OVER,
            loss_gradient=LOSS_GRADIENT,
            before_last_backward=data_parallel.last_micro_batch,
        )
        started = len(data_parallel._reductions)
        assert started == (len(data_parallel.buckets) if options["overlap_grad_reduce"] else 0)
        data_parallel.finish_grads()
        for shard in data_parallel.shards:
            rows = slice(shard.first_row, shard.first_row + len(shard.grad_rows))
            torch.testing.assert_close(shard.grad_rows, wanted[id(shard.parameter)][rows], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunks", [1, 2])
@pytest.mark.parametrize("shard", [True, False])
def test_gradients_are_reduced_while_other_chunks_still_run(chunks, shard):
    run_processes(with_data_parallel, 4, chunks, {"shard": shard, "overlap_grad_reduce": True})


def test_gradients_are_reduced_at_the_end_if_asked():
    run_processes(with_data_parallel, 4, 2, {"shard": True, "overlap_grad_reduce": False})


def what_stays_in_memory() -> dict[str, Any]:
    """Counts the outputs that are alive at each forward pass, and the graphs."""
    grid = pipeline_mesh()
    schedule = build_schedule("1f1b", 2, 8)
    outputs: list[weakref.ref[Any]] = []
    inputs: list[weakref.ref[Any]] = []
    most = {"outputs": 0, "inputs": 0}

    class Watched(ToyStage):
        def forward(self, hidden: Tensor | None, micro_batch: Any, settings: PassSettings) -> Output:
            most["outputs"] = max(most["outputs"], sum(ref() is not None for ref in outputs))
            # Of an addition nothing is saved, so only what the executor holds keeps the output's memory.
            output = super().forward(hidden, micro_batch, settings)
            outputs.append(weakref.ref(output.result.untyped_storage()))
            if hidden is not None:
                assert hidden.untyped_storage().nbytes() == hidden.numel() * hidden.element_size()
                inputs.append(weakref.ref(hidden.untyped_storage()))
                most["inputs"] = max(most["inputs"], sum(ref() is not None for ref in inputs))
            return output

    gc.disable()  # what is freed is freed by itself
    Executor([Watched(grid.pp.rank, 2)], grid).run(schedule, toy_micro_batches(8), HANDED_OVER)
    return {**most, "left": sum(ref() is not None for ref in outputs + inputs)}


def test_tensors_go_as_soon_as_they_have_been_used():
    first, last = run_processes(what_stays_in_memory, 2)
    assert last["inputs"] == 1  # its only micro-batch under way
    assert first["outputs"] <= 3  # of 8: those that have not arrived yet
    assert first["left"] == last["left"] == 0


def test_what_does_not_fit_is_refused():
    grid = Grid.single()
    stages = [ToyStage(number, 2) for number in range(2)]
    executor = Executor(stages, grid)
    schedule = build_schedule("gpipe", 1, 3, 2)
    with pytest.raises(ValueError, match="2 micro-batches for a schedule of 3"):
        executor.run(schedule, toy_micro_batches(2), HANDED_OVER)
    with pytest.raises(ValueError, match="more micro-batches than the 3"):
        executor.run(schedule, toy_micro_batches(4), HANDED_OVER)
    with pytest.raises(ValueError, match="1 ranks of 3 chunks"):
        executor.run(build_schedule("gpipe", 1, 3, 3), toy_micro_batches(3), HANDED_OVER)
    with pytest.raises(ValueError, match=r"returned \(3, 6\) torch.float64"):
        executor.run(schedule, toy_micro_batches(3), Hidden((3, 6), torch.float32))


def test_a_frozen_stage_only_hands_on():
    """Nothing to train in the first stage: it has no backward, and the second none of its input's."""
    stages = [ToyStage(number, 2) for number in range(2)]
    stages[0].requires_grad_(False)
    Executor(stages, Grid.single()).run(build_schedule("gpipe", 1, 2, 2), toy_micro_batches(2), HANDED_OVER)
    expected = in_one_go(2, toy_micro_batches(2), 1.0)[1]
    assert gradients(stages[0]) == [None, None]
    assert all(torch.equal(a, b) for a, b in zip(gradients(stages[1]), expected[1], strict=True))
