"""Which blocks of the model each rank's chunks hold.

The slowest virtual stage sets the pace of a pipeline. The embedding makes the first one slower and the head the last,
by far with a large vocabulary. So the blocks are not always cut evenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steel_megatron.config import ConfigError
from steel_megatron.parallel.pipeline.actions import loop_placement


@dataclass(frozen=True)
class StageLayers:
    """What a chunk holds: ``first`` adds the embedding, ``last`` the final norm and the head."""

    stage: int  # virtual stage
    layers: range
    first: bool
    last: bool


@dataclass(frozen=True)
class LayerCosts:
    """Time of the model's parts in any one unit, such as FLOPs per token; of each block in turn."""

    blocks: tuple[float, ...]
    embedding: float = 0.0
    head: float = 0.0

    @property
    def mean_block(self) -> float:
        return sum(self.blocks) / len(self.blocks)


def assign_layers(
    layers: int, ranks: int, chunks: int = 1, *, layout: str = "auto", costs: LayerCosts | None = None
) -> tuple[tuple[StageLayers, ...], ...]:
    """``[rank][chunk]`` → what it holds.

    Args:
        layers: blocks of the model.
        ranks: pipeline stages.
        chunks: virtual stages per rank; virtual stage s is chunk s // ranks of rank s mod ranks.
        layout: ``auto`` makes the slowest virtual stage as fast as can be; ``even`` gives each the same number of
            blocks; or the number of blocks of each virtual stage in order, as ``3,4,4,3``.
        costs: what ``auto`` weighs; all blocks alike when None.

    Raises:
        ConfigError: the layers cannot be cut like that.
    """
    stages = ranks * chunks
    if layout == "auto":
        counts = _balanced(ranks, chunks, costs or LayerCosts((1.0,) * layers))
    elif layout == "even":
        counts = _even(layers, stages)
    else:
        counts = _given(layout, layers, stages)
    for stage, count in enumerate(counts):
        if count == 0 and not (stage in (0, stages - 1) and stages > 1):
            raise ConfigError(
                f"{layers} layers over {ranks} pipeline stages × {chunks} chunks",
                rule="every virtual stage has a block, except the first (embedding) and the last (head)",
                fix="use fewer pipeline stages, or more layers per virtual stage",
            )
    starts = [sum(counts[:stage]) for stage in range(stages)]
    parts = [
        StageLayers(stage, range(start, start + count), stage == 0, stage == stages - 1)
        for stage, (start, count) in enumerate(zip(starts, counts, strict=True))
    ]
    return tuple(tuple(parts[stage] for stage in row) for row in loop_placement(ranks, chunks))


def chunks_per_rank(layers: int, ranks: int, layers_per_chunk: int | None) -> int:
    """Virtual stages per rank so that each has ``layers_per_chunk`` blocks, or fewer where they do not come out even.

    None: one virtual stage per rank.

    Raises:
        ConfigError: not above 0.
    """
    if layers_per_chunk is None:
        return 1
    if layers_per_chunk < 1:
        raise ConfigError(
            f"--num-layers-per-virtual-pipeline-stage {layers_per_chunk}", rule="it is above 0", fix="leave it out"
        )
    return -(-layers // (ranks * layers_per_chunk))


def stage_costs(parts: tuple[tuple[StageLayers, ...], ...], costs: LayerCosts) -> tuple[float, ...]:
    """The cost of each virtual stage, in order."""
    ordered = sorted((part for row in parts for part in row), key=lambda part: part.stage)
    return tuple(
        sum(costs.blocks[layer] for layer in part.layers) + part.first * costs.embedding + part.last * costs.head
        for part in ordered
    )


def _balanced(ranks: int, chunks: int, costs: LayerCosts) -> list[int]:
    """Blocks of each virtual stage so that the slowest is as fast as can be."""
    stages, layers = ranks * chunks, len(costs.blocks)
    extra = [0.0] * stages
    extra[0] += costs.embedding
    extra[-1] += costs.head
    if len(set(costs.blocks)) > 1 and layers >= stages - 2:  # the first and the last stage may be without a block
        return _cut(costs.blocks, extra)
    counts, block = [0] * stages, costs.blocks[0]

    def cost_with_one_more(stage: int) -> tuple[float, float, int]:
        mates = range(stage % ranks, stages, ranks)
        rank_cost = sum(extra[mate] for mate in mates) + (1 + sum(counts[mate] for mate in mates)) * block
        return extra[stage] + (1 + counts[stage]) * block, rank_cost, -stage

    # Blocks are alike: each goes to the virtual stage that is then the fastest, and no other way makes the slowest one
    # faster. Among equals, to the rank that has least to do in all its chunks; then to the later stage, which keeps
    # fewer micro-batches in memory.
    for _ in range(layers):
        counts[min(range(stages), key=cost_with_one_more)] += 1
    return counts


def _cut(blocks: Sequence[float], extra: Sequence[float]) -> list[int]:
    """Of blocks that differ: by the best cut of the first i of them into s stages, for every i and s.

    The first and the last stage may be without a block. Among equals, the cut with the smaller sum of squares.
    """
    count, last = len(blocks), len(extra) - 1
    best: list[tuple[float, float, tuple[int, ...]] | None] = [(0.0, 0.0, ()), *[None] * count]
    for stage, cost in enumerate(extra):
        cuts: list[tuple[float, float, tuple[int, ...]] | None] = [None] * (count + 1)
        for end in range(count + 1):
            time = cost
            for start in range(end, -1, -1):
                time += blocks[start] if start < end else 0.0
                found, before = cuts[end], best[start]
                if found is not None and time > found[0]:
                    break  # and longer stages are slower still
                if before is None or (start == end and stage not in (0, last)):
                    continue
                new = max(before[0], time), before[1] + time * time, (*before[2], end - start)
                cuts[end] = new if found is None else min(found, new)
        best = cuts
    whole = best[count]
    assert whole is not None, "there is a block for each stage between the first and the last"
    return list(whole[2])


def _even(layers: int, stages: int) -> list[int]:
    if layers % stages:
        raise ConfigError(
            f"--pipeline-layout even with {layers} layers over {stages} virtual stages",
            rule="the number of layers is a multiple of pipeline stages × chunks",
            fix="use --pipeline-layout auto, or give the numbers",
        )
    return [layers // stages] * stages


def _given(layout: str, layers: int, stages: int) -> list[int]:
    numbers = layout.split(",")
    if not all(number.strip().isdecimal() for number in numbers):
        raise ConfigError(f"--pipeline-layout {layout}", rule="auto, even, or numbers of layers such as 3,4,4,3")
    counts = [int(number) for number in numbers]
    if len(counts) != stages or sum(counts) != layers:
        raise ConfigError(
            f"--pipeline-layout {layout}: {sum(counts)} layers in {len(counts)} parts",
            rule=f"it gives the layers of each of {stages} virtual stages, {layers} in all",
            fix="use --pipeline-layout auto, or mend the numbers",
        )
    return counts
