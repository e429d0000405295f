"""Weights of a model in memory ↔ a Hugging Face state dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from steel_megatron.config import ConfigError
from steel_megatron.huggingface.family import Family
from steel_megatron.huggingface.names import match_names, targets_of
from steel_megatron.parallel.parameter import Piece, TensorSlice, parameters_with_spec, slices_of


def to_hugging_face(model: nn.Module, family: Family, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The model's weights under the family's names, without padding, as new tensors.

    Args:
        model: a whole model (one tensor-parallel and one pipeline rank).
        family: see :func:`~steel_megatron.huggingface.options.family_of`.
        dtype: type of the result; the parameters' own when None.
    """
    blocks = _whole_blocks(model)
    tensors = {name: block.tensor for name, (_, block) in blocks.items()}
    return {target.name: target.join(tensors, dtype) for target in targets_of(parameters_with_spec([model]), family)}


class WeightSource(Protocol):
    """A state dict that may lie in files: shapes by name, and one tensor at a time."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]: ...

    def __getitem__(self, name: str) -> Tensor: ...


class StateDict:
    """A state dict in memory as a :class:`WeightSource`."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state
        self.shapes: Mapping[str, tuple[int, ...]] = {name: tuple(tensor.shape) for name, tensor in state.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._state[name]


def from_hugging_face(
    source: WeightSource | Mapping[str, Tensor], model: nn.Module, family: Family, where: str = "the state dict"
) -> None:
    """Fills the model's parameters in place, converting to their type; rows of padding become 0.

    Raises:
        CheckpointError: the names or shapes are not the model's; ``where`` is named.
    """
    weights = StateDict(source) if isinstance(source, Mapping) else source
    targets = targets_of(parameters_with_spec([model]), family)
    names = match_names(weights.shapes, targets, family, where)
    blocks = _whole_blocks(model)
    with torch.no_grad():
        for target in targets:
            for name, part in target.split(weights[names[target.name]]).items():
                _, block = blocks[name]
                block.tensor[: len(part)].copy_(part)
                block.tensor[len(part) :].zero_()


def _whole_blocks(model: nn.Module) -> dict[str, tuple[Piece, TensorSlice]]:
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
