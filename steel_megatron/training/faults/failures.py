"""Failures of a run, told before anything is closed; a GPU that is out of memory says so in words that help."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from steel_megatron.config import DeviceMemoryError, TrainingConfig
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.processes.failure import tell

GIB = 2**30


@contextmanager
def told_failures(training: TrainingConfig, grid: Grid) -> Iterator[None]:
    """Tells whatever is raised inside, on this rank's output and to the other ranks, and raises it on.

    Raises:
        DeviceMemoryError: in place of torch.OutOfMemoryError, and of what torch raises where a CPU's memory is short.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        explained = out_of_memory(error, training, grid)
        explained.__cause__ = error
        tell(explained)
        raise explained from error
    except (RuntimeError, MemoryError) as error:
        told = host_out_of_memory(error, training) or error
        tell(told)
        if told is error:
            raise
        raise told from error
    except BaseException as error:
        tell(error)
        raise


def host_out_of_memory(error: Exception, training: TrainingConfig) -> DeviceMemoryError | None:
    """What was asked for of a CPU's memory; None for another error."""
    wanted = re.search(r"can't allocate memory: you tried to allocate (\d+) bytes", str(error))
    if wanted is None and "Storage size calculation overflowed" not in str(error) and type(error) is not MemoryError:
        return None
    size = f": {int(wanted[1]) / GIB:,.1f} GiB more were asked for" if wanted else ""
    return DeviceMemoryError(
        f"the memory of this machine does not hold the run{size}",
        rule="weights, gradients, optimizer and what a micro-batch keeps for its backward pass fit into memory; `steel "
        "plan` with the same flags adds them up",
        fix="; or ".join(_ways_out(training, fragments=0)),
    )


def out_of_memory(error: torch.OutOfMemoryError, training: TrainingConfig, grid: Grid) -> DeviceMemoryError:
    """What was asked for, what there is and who has it, and what takes less."""
    wanted = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
    given = f"{grid.device} of rank {grid.world.rank} is out of memory"
    if wanted:
        given += f": {wanted[1]} more were asked for"
    fragments = 0
    if grid.device.type == "cuda":
        free, total = torch.cuda.mem_get_info(grid.device)
        taken, held = torch.cuda.memory_allocated(grid.device), torch.cuda.memory_reserved(grid.device)
        fragments = held - taken
        given += (
            f"; of {total / GIB:.1f} GiB, tensors take {taken / GIB:.1f}, the allocator keeps {fragments / GIB:.1f} "
            f"more, libraries and other processes {max(total - free - held, 0) / GIB:.1f}, {free / GIB:.1f} are free"
        )
    return DeviceMemoryError(
        given,
        rule="weights, gradients, optimizer and what a micro-batch keeps for its backward pass fit the GPU; `steel "
        "plan` with the same flags adds them up",
        fix="; or ".join(_ways_out(training, fragments)),
    )


def _ways_out(training: TrainingConfig, fragments: int) -> Iterator[str]:
    """What takes less memory, the cheapest first."""
    if fragments > 2 * GIB:
        yield "set PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True, since much is kept in pieces"
    if training.micro_batch_size > 1:
        smaller = training.micro_batch_size // 2
        yield f"--micro-batch-size {smaller} instead of {training.micro_batch_size} (the global batch stays as it is)"
    if training.recompute_granularity == "none":
        yield "--recompute-granularity selective"
    if training.recompute_granularity != "full":
        yield "--recompute-granularity full (about a third more time)"
    yield "spread the model over more GPUs (--tensor-model-parallel-size, --pipeline-model-parallel-size)"
