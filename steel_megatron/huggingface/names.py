"""The tensors of a Hugging Face state dict and the pieces of our parameters that each is made of.

What stands where, the family says (:class:`~steel_megatron.huggingface.family.Place`). Here the pieces are only put
side by side, transposed where Conv1D wants it, and freed of the vocabulary's padding; and back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from steel_megatron.config import CheckpointError
from steel_megatron.config.texts import some
from steel_megatron.huggingface.family import Family, Place
from steel_megatron.parallel.parameter import Piece, spec_of

HEAD = "lm_head.weight"  # in every family; absent or ignored where the head is tied


@dataclass(frozen=True)
class Target:
    """One tensor of a state dict; ``pieces`` lie side by side along its output dimension, in this order."""

    name: str
    transpose: bool
    pieces: tuple[Piece, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in the state dict, without padding."""
        rows = sum(_rows(piece) for piece in self.pieces)
        shape = (rows, *self.pieces[0].global_shape[1:])
        return shape[::-1] if self.transpose else shape

    @property
    def numel(self) -> int:
        """Its elements, without padding."""
        return math.prod(self.shape)

    def join(self, tensors: Mapping[str, Tensor], dtype: torch.dtype | None = None) -> Tensor:
        """The tensor from whole pieces by name; it shares no memory with them."""
        parts = [tensors[piece.name][: _rows(piece)] for piece in self.pieces]
        dtype = dtype or parts[0].dtype
        joined = torch.empty(self.shape, dtype=dtype, device=parts[0].device)
        view = joined.t() if self.transpose else joined
        for part, space in zip(parts, view.split([_rows(piece) for piece in self.pieces]), strict=True):
            space.copy_(part)
        return joined

    def split(self, tensor: Tensor) -> dict[str, Tensor]:
        """Whole pieces by name, without padding, as views of the tensor."""
        rows = (tensor.t() if self.transpose else tensor).split([_rows(piece) for piece in self.pieces])
        return {piece.name: part for piece, part in zip(self.pieces, rows, strict=True)}


def targets_of(parameters: Iterable[Tensor], family: Family) -> list[Target]:
    """The state dict of the parameters in the family's names, in order of the parameters."""
    groups: dict[str, dict[int, tuple[Place, Piece]]] = {}
    for parameter in parameters:
        for piece in spec_of(parameter).pieces:
            place = family.place(piece.name)
            if place is None:
                raise ValueError(f"{piece.name} has no place in {family.name}")
            parts = groups.setdefault(place.name, {})
            if place.part[0] in parts:
                raise ValueError(f"{piece.name} and {parts[place.part[0]][1].name} both claim {place.name}")
            parts[place.part[0]] = place, piece
    targets = []
    for name, parts in groups.items():
        places, pieces = zip(*(parts[k] for k in sorted(parts)), strict=True)
        if [place.part for place in places] != [(k, len(places)) for k in range(len(places))]:
            raise ValueError(f"the parts of {name} do not make a whole: {[place.part for place in places]}")
        targets.append(Target(name, places[0].transpose, pieces))
    return targets


def match_names(
    present: Mapping[str, tuple[int, ...]], targets: Iterable[Target], family: Family, where: str
) -> dict[str, str]:
    """Target name → name in a state dict whose names and shapes are given.

    A base model's names (without the family's prefix) are taken too.

    Raises:
        CheckpointError: names missing or left over, or shapes that differ; all of them are listed.
    """
    keys = {name: name for name in present}
    if not any(name.startswith(family.prefix) for name in present):
        keys = {name if name == HEAD else family.prefix + name: name for name in present}
    wanted = {target.name: target.shape for target in targets}
    missing = [name for name in wanted if name not in keys]
    ignored = (*family.ignored, HEAD) if HEAD not in wanted else family.ignored
    unexpected = [name for name in keys if name not in wanted and not name.endswith(ignored)]
    wrong = [
        f"{name} is {list(present[keys[name]])} instead of {list(shape)}"
        for name, shape in wanted.items()
        if name in keys and tuple(present[keys[name]]) != shape
    ]
    problems = [
        f"{what}: {_listed(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("shape", wrong))
        if names
    ]
    if problems:
        raise CheckpointError(
            f"{where} does not hold the weights that its config.json describes; " + "; ".join(problems),
            rule=f"a {family.name} folder has exactly the parameters of {family.architecture}",
            fix="check that config.json and the weights belong together and that all files were copied",
        )
    return {name: keys[name] for name in wanted}


def _rows(piece: Piece) -> int:
    return piece.global_shape[0] if piece.rows is None else piece.rows


def _listed(names: list[str]) -> str:
    """Names with the layer number folded, so that one cause reads as one line."""
    folded: dict[str, int] = {}
    for name in names:
        key = re.sub(r"\.\d+\.", ".*.", name)
        folded[key] = folded.get(key, 0) + 1
    return some([name if count == 1 else f"{name} (× {count})" for name, count in folded.items()], 12)
