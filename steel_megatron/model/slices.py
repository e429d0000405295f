"""The model's weights as a checkpoint names them."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from steel_megatron.parallel.parameter import TensorSlice, parameters_with_spec, slices_of, without_padding

WEIGHT = "model."  # before the layout-independent name


def model_slices(chunks: Iterable[nn.Module]) -> dict[str, TensorSlice]:
    """The weights of this rank's part of the model under ``model.{piece name}``; loading into them sets the weights.

    A vocabulary's padding is left out.
    """
    blocks = {}
    for parameter in parameters_with_spec(chunks):
        for piece, block in slices_of(parameter):
            real = without_padding(piece, block)
            if real is not None:
                blocks[WEIGHT + piece.name] = real
    return blocks
