"""Which way of computing the blocks' linear layers a run has."""

from __future__ import annotations

import functools
from collections.abc import Callable

from steel_megatron.config import RunConfig
from steel_megatron.ops import transformer_engine
from steel_megatron.ops.scaled_matmul import check_device
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.fp8 import Fp8Linears
from steel_megatron.parallel.tensor.kinds import Linears
from steel_megatron.parallel.tensor.transformer_engine import TransformerEngineLinears


def linears_maker(config: RunConfig, grid: Grid) -> Callable[[], Linears]:
    """Makes a chunk's way of computing the blocks' linear layers, as the configuration says. A collective call.

    Raises:
        ConfigError: the device or the installed packages cannot do it.
    """
    training = config.training
    if training.fp8_format is not None:
        check_device(grid.device)
    if training.transformer_impl == "local":
        return Linears if training.fp8_format is None else functools.partial(Fp8Linears, training.fp8_format)
    transformer_engine.require(grid.device.type)
    if training.fp8_format is None:
        return TransformerEngineLinears
    # Scales are shared by all ranks of a pipeline stage.
    group = grid.make("tp", "cp", "dp").group if training.fp8_recipe == "delayed" else None
    recipe = transformer_engine.make_recipe(
        training.fp8_format, training.fp8_recipe, training.fp8_amax_history_len, reduce_amax=group is not None
    )
    return functools.partial(TransformerEngineLinears, recipe, group)
