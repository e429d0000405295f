"""What a parameter knows of itself: how it is called, split, tied, decayed and initialised.

A parameter on this rank is a stack (along dimension 0) of *pieces*. Each piece is a rectangular block of a tensor
whose name and shape do not depend on the layout: a fused query-key-value weight has three pieces, a plain weight has
one. Initialisation, checkpoint, clipping, the sharded optimizer and export read the pieces and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Init:
    """Initial values of a piece: ``normal`` with ``std``, ``ones`` or ``zeros``."""

    kind: str = "normal"
    std: float = 0.02


@dataclass(frozen=True)
class Piece:
    """This rank's block of one layout-independent tensor.

    ``name`` is canonical ("blocks.3.attention.query.weight"), ``offset`` says where the block begins in the tensor of
    ``global_shape``, ``rows`` (a vocabulary's) are the rows of that tensor that are not padding. ``replicas``: so many
    neighbouring tensor-parallel ranks hold this same block and each computes a part of its gradient (a key head that
    several ranks' query heads share); data parallel sums the parts.
    """

    name: str
    shape: tuple[int, ...]
    global_shape: tuple[int, ...]
    offset: tuple[int, ...]
    init: Init = Init()
    rows: int | None = None
    replicas: int = 1

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    @property
    def sharded(self) -> bool:
        """Whether other tensor-parallel ranks hold other blocks of the tensor."""
        return self.shape != self.global_shape

    def counts_on(self, tp_rank: int) -> bool:
        """Whether this tensor-parallel rank is the one that counts the block where each element shall count once."""
        if self.replicas > 1:
            return tp_rank % self.replicas == 0
        return self.sharded or tp_rank == 0


Kind = Literal["matrix", "vector", "embedding", "head"]
DATA = ("cp", "dp")  # what every parameter's gradient is summed over, but for an expert's
EXPERT = ("edp",)  # of a parameter that only one rank in each ep group has


@dataclass(frozen=True)
class ParamSpec:
    """Everything the rest of the system needs to know of a parameter.

    ``decay``: weight decay applies. ``tied``: name of the group of parameters with one value (embedding and head on
    different pipeline stages); the group counts once in the gradient norm. ``summed_over``: the axes of the grid whose
    ranks each compute a part of its gradient: ``DATA`` or ``EXPERT``, and tp where each tensor-parallel rank has all of
    the parameter but sees a slice of the sequence. ``kind``: by which an optimizer's rule chooses what to do with it;
    by its dimensions when None.
    """

    pieces: tuple[Piece, ...]
    decay: bool
    tied: str | None = None
    summed_over: tuple[str, ...] = DATA
    kind: Kind | None = None

    def __post_init__(self) -> None:
        if self.data_axes not in (DATA, EXPERT):
            raise ValueError(f"a gradient summed over {self.summed_over}: it is {DATA} or {EXPERT}, and tp or not")
        if self.kind is None:
            by_dimensions: Kind = "vector" if len(self.pieces[0].shape) == 1 else "matrix"
            object.__setattr__(self, "kind", by_dimensions)

    @property
    def data_axes(self) -> tuple[str, ...]:
        """The axes that share the work of updating it: those of its gradient's sum that see different samples."""
        return tuple(axis for axis in self.summed_over if axis != "tp")

    @property
    def row_numel(self) -> int:
        """Elements of one row: the unit in which the sharded optimizer cuts the parameter."""
        return math.prod(self.pieces[0].shape[1:])


def attach_spec(parameter: nn.Parameter, spec: ParamSpec) -> nn.Parameter:
    """Declares what the parameter is; called once, where it is made."""
    rows = sum(piece.shape[0] for piece in spec.pieces)
    shape = (rows, *spec.pieces[0].shape[1:])
    if tuple(parameter.shape) != shape:
        raise ValueError(f"pieces of {spec.pieces[0].name} stack to {shape}, the parameter is {tuple(parameter.shape)}")
    parameter.spec = spec  # type: ignore[attr-defined]  # torch has no place for metadata
    return parameter


def spec_of(parameter: Tensor) -> ParamSpec:
    """The spec declared for a parameter."""
    return parameter.spec  # type: ignore[attr-defined]  # set by attach_spec


@dataclass(frozen=True)
class TensorSlice:
    """A tensor that is a block of a larger, named one: the unit of a checkpoint."""

    tensor: Tensor
    global_shape: tuple[int, ...]
    offset: tuple[int, ...]


def slices_of(parameter: Tensor, data: Tensor | None = None) -> Iterator[tuple[Piece, TensorSlice]]:
    """The pieces of a parameter as views of ``data`` (same shape; the parameter's own values when None)."""
    data = parameter.detach() if data is None else data
    row = 0
    for piece in spec_of(parameter).pieces:
        view = data[row : row + piece.shape[0]]
        yield piece, TensorSlice(view, piece.global_shape, piece.offset)
        row += piece.shape[0]


def row_slices(parameter: Tensor, first: int, rows: Tensor) -> Iterator[tuple[Piece, TensorSlice]]:
    """The pieces that the parameter's rows from ``first`` on touch, as blocks viewing ``rows`` (n, …).

    The sharded optimizer holds such a run of rows of each parameter; because it cuts between rows, each part is
    still a rectangle of a named tensor.
    """
    start, last = 0, first + rows.shape[0]
    for piece in spec_of(parameter).pieces:
        low, high = max(first, start), min(last, start + piece.shape[0])
        if low < high:
            offset = (piece.offset[0] + low - start, *piece.offset[1:])
            yield piece, TensorSlice(rows[low - first : high - first], piece.global_shape, offset)
        start += piece.shape[0]


def without_padding(piece: Piece, block: TensorSlice) -> TensorSlice | None:
    """The part of a block that is not a vocabulary's padding, in the tensor without it; None if nothing is left.

    How much padding there is depends on the layout, so checkpoints hold none.
    """
    if piece.rows is None:
        return block
    rows = min(piece.rows - block.offset[0], block.tensor.shape[0])
    if rows <= 0:
        return None
    return TensorSlice(block.tensor[:rows], (piece.rows, *block.global_shape[1:]), block.offset)


def parameters_with_spec(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """All parameters of the modules, each once, in order of registration; each must have a spec."""
    found: dict[int, nn.Parameter] = {}
    for module in modules:
        for name, parameter in module.named_parameters():
            if not hasattr(parameter, "spec"):
                raise TypeError(f"parameter {name} has no spec: call attach_spec where it is made")
            found.setdefault(id(parameter), parameter)
    return list(found.values())


def param_dtype(precision: str) -> torch.dtype:
    """The torch type of a ``--precision`` value."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
