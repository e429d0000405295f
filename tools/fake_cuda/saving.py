"""A checkpoint as the ranks plan it, without a byte being written."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.planner import SavePlan

from steel_megatron.checkpoint.dcp_adapter import _SliceSavePlanner
from steel_megatron.model.slices import model_slices
from steel_megatron.training.loop import Trainer


def local_plan(trainer: Trainer) -> SavePlan:
    """What this rank would bring into a checkpoint of the model and the optimizer."""
    components = trainer.components
    components.data_parallel.wait_parameters()
    planner = _SliceSavePlanner()
    planner.set_up_planner(dict(model_slices(components.chunks) | components.optimizer.slices()))
    return planner.create_local_plan()


def problems_of_plans(plans: Sequence[SavePlan]) -> list[str]:
    """What is wrong with the checkpoint that all ranks' plans make: every element is written once."""
    planner = _SliceSavePlanner()
    planner.set_up_planner({}, is_coordinator=True)
    _, metadata = planner.create_global_plan(list(plans))
    problems = []
    for name, stored in metadata.state_dict_metadata.items():
        assert isinstance(stored, TensorStorageMetadata)
        boxes = [(chunk.offsets, chunk.sizes) for chunk in stored.chunks]
        elements = sum(math.prod(sizes) for _, sizes in boxes)
        overlaps = any(_overlap(*a, *b) for a, b in itertools.combinations(boxes, 2))
        if elements != math.prod(stored.size) or overlaps:
            problems.append(f"{name}: {elements} of {math.prod(stored.size)} elements in {len(boxes)} chunks")
    return problems


def _overlap(
    offset: Sequence[int], size: Sequence[int], other_offset: Sequence[int], other_size: Sequence[int]
) -> bool:
    return all(
        start < other + more and other < start + length
        for start, length, other, more in zip(offset, size, other_offset, other_size, strict=True)
    )
