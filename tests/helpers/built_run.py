"""The parts of a tiny run, built in this process as a run builds them, for tests that call them by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from helpers.tiny_run import run_config
from steel_megatron.config import RunConfig, check_run, load_run_config
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import spec_of
from steel_megatron.training.startup.setup import Components, build_components, build_data
from steel_megatron.training.state import RunState


@contextmanager
def built(folder: Path, grid: Grid | None = None, **knobs: Any) -> Iterator[tuple[RunConfig, Components]]:
    """Configuration and components of :func:`~.tiny_run.run_config`'s run in fp32, with weights as it begins."""
    grid = grid or Grid.single()
    if grid.world.size > 1:  # each writes the same
        folder = folder / f"rank{grid.world.rank}"
        folder.mkdir()
    path = run_config(folder, **{"precision": "fp32", "split": "100,0,0", "eval_iters": 0, "save": None, **knobs})
    config = check_run(load_run_config(path), grid.world.size)
    batch_size = BatchSize(config.training)
    datasets = build_data(config, grid, None, batch_size, RunState())
    try:
        yield config, build_components(config, grid, batch_size, datasets, initialise=True)
    finally:
        datasets.close()


def gradients(components: Components) -> dict[str, Tensor]:
    """Copies of this rank's gradients, by the first name of each parameter."""
    shards = components.data_parallel.shards
    return {spec_of(shard.parameter).pieces[0].name: shard.grad_rows.clone() for shard in shards}
