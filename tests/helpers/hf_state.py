"""Hugging Face state dicts in memory, to and from our models."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from steel_megatron.huggingface.family import Family
from steel_megatron.huggingface.names import targets_of
from steel_megatron.huggingface.weights import whole_blocks
from steel_megatron.parallel.parameter import parameters_with_spec


class StateDict:
    """A state dict as a :class:`steel_megatron.huggingface.weights.WeightSource`."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state
        self.shapes: Mapping[str, tuple[int, ...]] = {name: tuple(tensor.shape) for name, tensor in state.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._state[name]


def to_hugging_face(model: nn.Module, family: Family, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The weights of a whole model under the family's names, without padding, in a type or in their own."""
    tensors = {name: block.tensor for name, (_, block) in whole_blocks(model).items()}
    return {target.name: target.join(tensors, dtype) for target in targets_of(parameters_with_spec([model]), family)}
