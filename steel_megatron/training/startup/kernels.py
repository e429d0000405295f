"""Which kernels a run uses: what its flags ask for, what was measured, and the same on every rank."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist

from steel_megatron.config import ConfigError, ModelConfig, TrainingConfig
from steel_megatron.config.layer_types import SLIDING
from steel_megatron.ops import cpu_products, measured
from steel_megatron.ops.backends import (
    OPERATIONS,
    choice,
    chosen,
    forget_orders,
    slow_paths,
    unmeasured,
    use_attention_backend,
    use_kernel_backend,
)
from steel_megatron.parallel.collectives import gather_objects
from steel_megatron.parallel.grid import Grid
from steel_megatron.plan.measure import Shape
from steel_megatron.plan.measure_apart import MeasuringError, measure_apart

log = logging.getLogger(__name__)


def choose_kernels(training: TrainingConfig, grid: Grid, model: ModelConfig) -> None:
    """Follows ``--kernel-backend`` and ``--attention-backend``, and measures what ``auto`` needs. A collective call.

    Times are those of the model's own widths and the run's precision, if there are such.

    Raises:
        ConfigError: what is asked for is not here, or ``auto`` comes to different choices on different ranks.
    """
    device = grid.device.type
    use_kernel_backend(training.kernel_backend, device)
    use_attention_backend(training.attention_backend, device)
    _share_times(training, grid, Shape.of_run(model, training))
    for operation, known in OPERATIONS.items():
        for backend, why in measured.failed(operation, device).items():
            log.warning("%s by %s failed its self-test and is not used by auto: %s", known.name, backend, why)
    slow = slow_paths(device)
    if slow is not None and grid.world.rank == 0:
        log.warning("%s", slow)
    if SLIDING in model.attention_kinds and grid.world.rank == 0:
        found = choice("window_attention", device)
        in_strips = "; in strips: up to twice the products, and the forward pass twice"
        price = in_strips if found.implementation == "sdpa" else ""
        log.info("layers of %s: attention by %s%s", SLIDING, found, price)
    if grid.world.size == 1:
        return
    everywhere = gather_objects(chosen(device), grid.world)
    if device == "cpu":
        _agree_on_products(grid)
    for operation, known in OPERATIONS.items():
        first = everywhere[0][operation]
        for rank, choices in enumerate(everywhere):
            if choices[operation] != first:
                raise ConfigError(
                    f"{known.name}: {first} on rank 0, {choices[operation]} on rank {rank}",
                    rule="all ranks run the same kernels: weights that several ranks hold would drift apart",
                    fix=f"install the same on every machine, or name one with {known.flag}; `steel doctor` tells what "
                    "each would use",
                )


def _agree_on_products(grid: Grid) -> None:
    """Raises :class:`ConfigError` where ranks would multiply 16-bit numbers in different ways."""
    everywhere = gather_objects(cpu_products.report(), grid.world)
    for rank, report in enumerate(everywhere):
        for what, how in report.items():
            if how.split(" (")[0] != everywhere[0][what].split(" (")[0]:
                raise ConfigError(
                    f"{what}: {everywhere[0][what]} on rank 0, {how} on rank {rank}",
                    rule="all ranks multiply alike: weights that several ranks hold would drift apart",
                    fix=f"set {cpu_products.VARIABLE}=fp32 on every machine",
                )


def _share_times(training: TrainingConfig, grid: Grid, shape: Shape) -> None:
    """Rank 0's times are everybody's; on a GPU of which nothing is known for this run, it measures first."""
    measured.for_run(shape.run)
    device = grid.device.type
    found: list[dict[str, Any] | None] = [None]
    if grid.world.rank == 0:
        by_auto = "auto" in (training.kernel_backend, training.attention_backend)
        known = measured.of_this_run(device) and not unmeasured(device)
        if device == "cuda" and training.measure_kernels and by_auto and not known:
            _measure(grid.device, shape)
        found[0] = measured.times(device)
    if grid.world.size > 1:
        dist.broadcast_object_list(found, src=0, device=grid.device)
    measured.use(device, found[0])
    forget_orders()


def _measure(device: torch.device, shape: Shape) -> None:
    started, name = time.monotonic(), measured.device_name(device.type)
    log.info("measuring kernels on %s (%s), once for these versions: seconds to a minute", name, shape.words)
    try:
        found = measure_apart(device, shape)
    except (MeasuringError, OSError) as error:
        log.warning("kernels were not measured, auto goes by its table: %s", error)
        return
    try:
        where = f"kept in {measured.write(device.type, found, keep_earlier=True)}"
    except OSError as error:
        measured.use(device.type, found)
        where = f"not kept, so the next start measures again: {error}; {measured.FILE_VARIABLE} names a file elsewhere"
    words = []
    for operation, seconds in found["seconds"].items():
        first, *others = sorted(seconds, key=seconds.__getitem__)
        beside = ", ".join(f"{other} {1e3 * seconds[other]:.3g}" for other in others)
        words.append(
            f"{OPERATIONS[operation].name} {first} {1e3 * seconds[first]:.3g} ms" + (f" ({beside})" if beside else "")
        )
    log.info("measured in %.0f s, %s: %s", time.monotonic() - started, where, "; ".join(words))


def tell_other_choices(recorded: Mapping[str, str], grid: Grid) -> None:
    """Says in what this run's kernels differ from those that a checkpoint's steps ran."""
    now = chosen(grid.device.type)
    changed = [
        f"{OPERATIONS[operation].name} {then} there, {now[operation]} here"
        for operation, then in recorded.items()
        if operation in now and now[operation] != then
    ]
    if changed:
        log.warning(
            "the checkpoint's steps ran other kernels: %s; the run goes on, but not to the last bit as without a stop",
            "; ".join(changed),
        )
