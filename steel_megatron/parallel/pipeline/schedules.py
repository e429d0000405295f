"""The pipeline schedules: in which order each rank runs its forward and backward passes. Pure functions.

Letters: p ranks, v chunks per rank, m micro-batches, r this rank. Time is counted in the time of a whole rank's forward
and backward pass of one micro-batch; with equal stages and free communication a schedule takes m plus its bubble:

    schedule                 bubble                     passes kept on rank r, each of 1/v of a rank's layers
    gpipe (v ≥ 1)            (p - 1) / v  (m ≥ p)       v·m
    1f1b (v = 1)             p - 1                      min(p - r, m)
    interleaved (v > 1)      (p - 1) / v  (m ≥ p)       min(2 (p - r - 1) + (v - 1) G + 1, v·m)

G is the size of the largest group of micro-batches, p when p divides m; see :func:`interleaved_order`. Every schedule
adds up the gradients of a chunk in ascending order of micro-batches, so they all give the same sums.

Sources: GPipe (Huang et al. 2019), 1F1B (Narayanan et al. 2019, PipeDream-Flush), interleaving (Narayanan et al. 2021).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from steel_megatron.config import ConfigError
from steel_megatron.config.parallel import PIPELINE_SCHEDULES
from steel_megatron.parallel.pipeline.actions import Action, Kind, Schedule, loop_placement
from steel_megatron.parallel.pipeline.checker import ScheduleError, check_schedule
from steel_megatron.parallel.pipeline.transfers import with_transfers

# (p, m, v, r) → the rank's passes in order
Order = Callable[[int, int, int, int], list[Action]]
# (p, m, v, r) → graphs kept at one time
Peak = Callable[[int, int, int, int], int]


def build_schedule(name: str, ranks: int, micro_batches: int, chunks: int = 1) -> Schedule:
    """The schedule of a pipeline, with its communication; kept, because a run asks for the same one at every step.

    Args:
        name: as ``--pipeline-schedule`` takes it, or ``forward``. One from outside is gone through by the checker.
        ranks: p, pipeline stages.
        micro_batches: m of one global batch on one model replica; any number.
        chunks: v, pieces of the model per rank.

    Raises:
        ConfigError: no such schedule, a number it cannot have, or what the checker finds.
    """
    if min(ranks, micro_batches, chunks) < 1:
        raise ConfigError(
            f"a pipeline of {ranks} ranks, {chunks} chunks per rank, {micro_batches} micro-batches",
            rule="each is at least 1",
        )
    if name == "1f1b" and chunks > 1:
        raise ConfigError(
            f"pipeline schedule 1f1b with {chunks} chunks per rank",
            rule="1f1b runs one chunk per rank",
            fix="use interleaved, or leave out --num-layers-per-virtual-pipeline-stage",
        )
    return _build(name, ranks, micro_batches, chunks)


@functools.lru_cache(maxsize=32)
def _build(name: str, ranks: int, micro_batches: int, chunks: int) -> Schedule:
    recipe: Recipe = _FORWARD if name == "forward" else PIPELINE_SCHEDULES.load(name, "--pipeline-schedule")
    orders = [recipe.order(ranks, micro_batches, chunks, rank) for rank in range(ranks)]
    placement = loop_placement(ranks, chunks)
    peaks = tuple(recipe.peak(ranks, micro_batches, chunks, rank) for rank in range(ranks))
    schedule = Schedule(name, micro_batches, placement, with_transfers(orders, placement), peaks)
    if name != "forward" and PIPELINE_SCHEDULES.outside(name):
        try:
            check_schedule(schedule)
        except ScheduleError as error:
            raise ConfigError(
                f"--pipeline-schedule {error}",
                rule="every rank's list can be run, on any network, within the memory that it promises",
                fix="see docs/pipeline.md for what a schedule is",
            ) from None
    return schedule


def gpipe_order(p: int, m: int, v: int, r: int) -> list[Action]:
    """All forward passes, chunk after chunk, then all backward passes."""
    forwards = [Action(Kind.FORWARD, chunk, i) for chunk in range(v) for i in range(m)]
    return forwards + [Action(Kind.BACKWARD, chunk, i) for chunk in reversed(range(v)) for i in range(m)]


def gpipe_peak(p: int, m: int, v: int, r: int) -> int:
    """Every graph is kept until the forward passes are over."""
    return v * m


def one_f_one_b_order(p: int, m: int, v: int, r: int) -> list[Action]:
    """p - r - 1 forward passes to fill the pipeline, then one forward, one backward, until all is done."""
    return list(_alternate(_forwards([m], 1), _backwards([m], 1), warmup=p - r - 1))


def one_f_one_b_peak(p: int, m: int, v: int, r: int) -> int:
    """One graph for each pass under way between this rank and the last."""
    return min(p - r, m)


def interleaved_order(p: int, m: int, v: int, r: int) -> list[Action]:
    """One forward, one backward over v chunks per rank: the bubble of 1F1B, v times shorter.

    Micro-batches go through a rank in groups: all of a group through chunk 0, then through chunk 1, and so on; in
    backward from the last chunk down. A group of fewer than p is through with a chunk before its first micro-batch has
    come round the ring, and all ranks wait. So m micro-batches make ⌊m / p⌋ groups (one at least), as equal as can be,
    each of p to 2p - 1. Any m ≥ p has the full gain. When p does not divide m it costs memory: the number of graphs
    kept grows with the largest group, G ≤ p + ⌈(m mod p) / ⌊m / p⌋⌉ instead of p. With m < p the pipeline cannot fill.
    """
    groups = micro_batch_groups(p, m)
    warmup = 2 * (p - r - 1) + (v - 1) * max(groups) if v > 1 else p - r - 1
    return list(_alternate(_forwards(groups, v), _backwards(groups, v), warmup))


def interleaved_peak(p: int, m: int, v: int, r: int) -> int:
    """Warm-up and the pass after it; twice 1F1B's distance to the last rank, so that transfers overlap with work."""
    if v == 1:
        return one_f_one_b_peak(p, m, v, r)
    return min(2 * (p - r - 1) + (v - 1) * max(micro_batch_groups(p, m)) + 1, v * m)


def forward_order(p: int, m: int, v: int, r: int) -> list[Action]:
    """Forward passes only, for evaluation, in the order of the interleaved schedule."""
    return list(_forwards(micro_batch_groups(p, m), v))


def forward_peak(p: int, m: int, v: int, r: int) -> int:
    """No graph is kept."""
    return 0


def micro_batch_groups(p: int, m: int) -> list[int]:
    """Sizes of the interleaved schedule's groups, the larger ones first."""
    count = max(m // p, 1)
    return [m // count + (group < m % count) for group in range(count)]


@dataclass(frozen=True)
class Recipe:
    """How a schedule is made, and the memory it promises."""

    order: Order
    peak: Peak


GPIPE = Recipe(gpipe_order, gpipe_peak)
ONE_F_ONE_B = Recipe(one_f_one_b_order, one_f_one_b_peak)
INTERLEAVED = Recipe(interleaved_order, interleaved_peak)
_FORWARD = Recipe(forward_order, forward_peak)  # of validation and generation, under the name "forward"


def _forwards(groups: list[int], v: int) -> Iterator[Action]:
    for first, size in _spans(groups):
        for chunk in range(v):
            yield from (Action(Kind.FORWARD, chunk, i) for i in range(first, first + size))


def _backwards(groups: list[int], v: int) -> Iterator[Action]:
    for first, size in _spans(groups):
        for chunk in reversed(range(v)):
            yield from (Action(Kind.BACKWARD, chunk, i) for i in range(first, first + size))


def _spans(groups: list[int]) -> Iterator[tuple[int, int]]:
    first = 0
    for size in groups:
        yield first, size
        first += size


def _alternate(forwards: Iterator[Action], backwards: Iterator[Action], warmup: int) -> Iterator[Action]:
    """``warmup`` forward passes, then one forward and one backward in turn, then what is left of backward."""
    for _, action in zip(range(warmup), forwards, strict=False):
        yield action
    for backward in backwards:
        yield from [action for action in [next(forwards, None)] if action is not None]
        yield backward
