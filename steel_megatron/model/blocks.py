"""The model's weights as a checkpoint names them."""

from __future__ import annotations

from torch import nn

from steel_megatron.parallel.spec import Block, blocks_of, parameters_with_spec, without_padding

WEIGHT = "model."  # before the layout-independent name


def model_blocks(model: nn.Module) -> dict[str, Block]:
    """This rank's weights under ``model.{piece name}``, without a vocabulary's padding; loading into them sets them."""
    blocks = {}
    for parameter in parameters_with_spec([model]):
        for piece, block in blocks_of(parameter):
            real = without_padding(piece, block)
            if real is not None:
                blocks[WEIGHT + piece.name] = real
    return blocks
