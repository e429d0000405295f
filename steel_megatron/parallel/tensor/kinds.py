"""How the linear layers of the transformer blocks are computed: a choice that the model does not see."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

from torch import nn

from steel_megatron.parallel.tensor.layers import ColumnParallelLinear, RowParallelLinear


class Linears:
    """The layers as they are, in the type of the model. Other ways derive from this one.

    One object serves one chunk of the model. Embedding, head and norms are none of its concern.
    """

    def install(self, modules: Iterable[nn.Module]) -> None:
        """Makes the linear layers in the modules compute this way."""

    def step(self) -> AbstractContextManager[None]:
        """Around all passes between two changes of the weights: what is derived from weights may be kept within."""
        return nullcontext()

    def region(self) -> AbstractContextManager[None]:
        """Around each pass through blocks, recomputed ones included."""
        return nullcontext()


def linear_layers(modules: Iterable[nn.Module]) -> list[ColumnParallelLinear | RowParallelLinear]:
    """All linear layers in the modules."""
    kinds = (ColumnParallelLinear, RowParallelLinear)
    return [layer for module in modules for layer in module.modules() if isinstance(layer, kinds)]
