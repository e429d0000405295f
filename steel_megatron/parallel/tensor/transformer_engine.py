"""The blocks' linear layers computed by Transformer Engine.

Tensor and sequence parallel stay here: what enters and leaves a region is communicated as for our own layers, in the
type of the model, and each rank's Linear sees a plain matmul.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

from steel_megatron.ops import transformer_engine
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.tensor.kinds import Linears, linear_layers
from steel_megatron.parallel.tensor.layers import ColumnParallelLinear
from steel_megatron.parallel.tensor.regions import enter_region, leave_region
from steel_megatron.parallel.tensor.weight_grad import await_parameter


class TransformerEngineLinears(Linears):
    """Layers computed by Transformer Engine, in 8 bits if there is a recipe.

    The parameters need gradient buffers (``main_grad``) before a backward pass.

    Args:
        recipe: from :func:`~steel_megatron.ops.transformer_engine.make_recipe`; None: the type of the model.
        amax_group: ranks that share the scales of delayed scaling.
    """

    def __init__(self, recipe: Any = None, amax_group: Any = None) -> None:
        self.recipe = recipe
        self.amax_group = amax_group
        self.steps = 0
        self.within_step = False

    def install(self, modules: Iterable[nn.Module]) -> None:
        for layer in linear_layers(modules):
            column = isinstance(layer, ColumnParallelLinear)
            bias = layer.bias if column or layer.grid.tp.size == 1 else None  # a partial sum's bias comes after it
            layer.multiply = _Layer(self, transformer_engine.linear(layer.weight, bias), column)

    @contextmanager
    def step(self) -> Iterator[None]:
        self.steps += 1
        self.within_step = True
        try:
            yield
        finally:
            self.within_step = False

    def region(self) -> AbstractContextManager[None]:
        if self.recipe is None:
            return nullcontext()
        return transformer_engine.autocast(self.recipe, self.amax_group)


class _Layer:
    """Not a module: the parameters belong to the layer that calls it."""

    def __init__(self, linears: TransformerEngineLinears, module: nn.Module, column: bool) -> None:
        self.linears = linears
        self.module = module
        self.column = column
        self.last_step = 0

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None, grid: Grid) -> Tensor:
        await_parameter(weight)
        if self.column:
            return self.module(enter_region(x, grid).contiguous(), is_first_microbatch=self._is_first())
        y = self.module(x.contiguous(), is_first_microbatch=self._is_first())
        if grid.tp.size == 1:
            return y
        y = leave_region(y, grid)
        return y if bias is None else y + bias

    def _is_first(self) -> bool | None:
        """Whether the weight has not been rounded since it changed; None where nothing is kept."""
        if self.linears.recipe is None or not self.linears.within_step:
            return None
        first = self.last_step != self.linears.steps
        self.last_step = self.linears.steps
        return first
