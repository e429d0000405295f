"""A Hugging Face state dict → weights of a model in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from steel_megatron.config import ConfigError
from steel_megatron.huggingface.family import Family
from steel_megatron.huggingface.names import match_names, targets_of
from steel_megatron.parallel.parameter import Piece, TensorSlice, parameters_with_spec, slices_of


class WeightSource(Protocol):
    """A state dict that may lie in files: shapes by name, and one tensor at a time."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def __getitem__(self, name: str) -> Tensor: ...


def from_hugging_face(weights: WeightSource, model: nn.Module, family: Family, where: str = "the state dict") -> None:
    """Fills the model's parameters in place, converting to their type; rows of padding become 0.

    Raises:
        CheckpointError: the names or shapes are not the model's; ``where`` is named.
    """
    targets = targets_of(parameters_with_spec([model]), family)
    names = match_names(weights.shapes, targets, family, where)
    blocks = whole_blocks(model)
    with torch.no_grad():
        for target in targets:
            for name, part in target.split(weights[names[target.name]]).items():
                _, block = blocks[name]
                block.tensor[: len(part)].copy_(part)
                block.tensor[len(part) :].zero_()


def whole_blocks(model: nn.Module) -> dict[str, tuple[Piece, TensorSlice]]:
    """The parameters of a whole model by the names of their pieces.

    Raises:
        ConfigError: some are spread over ranks.
    """
    blocks = {}
    for parameter in parameters_with_spec([model]):
        for piece, block in slices_of(parameter):
            if piece.sharded:
                raise ConfigError(
                    f"{piece.name} is spread over tensor-parallel ranks",
                    rule="conversion in memory takes a whole model",
                    fix="save a checkpoint and use steel export",
                )
            blocks[piece.name] = (piece, block)
    return blocks
