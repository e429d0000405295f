"""The layers the model is written in. At tensor-parallel size 1 they are the plain layers.

A layer knows the names of the layout-independent tensors that its parameters are made of and declares them with
:func:`~steel_megatron.parallel.parameter.attach_spec`. Weights start uninitialised; see
:func:`~steel_megatron.parallel.init.initialize_parameters`.

Shapes: … leading dimensions, S sequence, I in features, O out features, R tp ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from steel_megatron.parallel.grid import Axis, Grid
from steel_megatron.parallel.parameter import DATA, Init, Kind, ParamSpec, Piece, attach_spec
from steel_megatron.parallel.tensor.products import column_linear, row_linear

# (x, weight, bias, grid) → y
Multiply = Callable[[Tensor, Tensor, Tensor | None, Grid], Tensor]


@dataclass(frozen=True)
class Out:
    """One named output of a column-parallel layer.

    ``name`` is the stem ("blocks.0.attention.key"): the layer adds ``.weight`` and ``.bias``. ``features`` counts all
    ranks' output features. ``unit``: features that stay together (the head size). With fewer units than ranks each unit
    lies on several ranks, and data parallel sums their gradients. ``rows``: the features that are not padding (a
    vocabulary's).
    """

    name: str
    features: int
    unit: int = 1
    init: Init = field(default_factory=Init)
    rows: int | None = None

    def share(self, axis: Axis) -> tuple[int, int, int]:
        """(first feature, features, ranks that hold the same ones) on this rank."""
        units = self.features // self.unit
        if units * self.unit == self.features and units % axis.size == 0:
            own = units // axis.size
            return axis.rank * own * self.unit, own * self.unit, 1
        if units * self.unit == self.features and axis.size % units == 0:
            replicas = axis.size // units
            return axis.rank // replicas * self.unit, self.unit, replicas
        raise ValueError(
            f"{self.name}: {self.features} features in units of {self.unit} do not spread over {axis.size} tp ranks"
        )


class ColumnParallelLinear(nn.Module):
    """y_r = x W_rᵀ + b_r: each tp rank computes its share of every output; see :func:`column_linear` for the algebra.

    The local rows of all outputs are stacked in one weight, so that one matmul computes them. ``forward`` returns them
    side by side; ``sizes`` are their local features, for ``y.split(layer.sizes, dim=-1)``. ``multiply`` computes the
    product; see :mod:`steel_megatron.parallel.tensor.kinds`.
    """

    def __init__(
        self,
        in_features: int,
        outs: Sequence[Out],
        *,
        bias: bool,
        grid: Grid,
        dtype: torch.dtype,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        self.grid = grid
        self.multiply: Multiply = column_linear
        shares = [out.share(grid.tp) for out in outs]
        self.sizes = [features for _, features, _ in shares]
        weight = nn.Parameter(torch.empty(sum(self.sizes), in_features, dtype=dtype, device=device))
        pieces = [
            Piece(
                f"{out.name}.weight",
                (own, in_features),
                (out.features, in_features),
                (first, 0),
                out.init,
                out.rows,
                replicas,
            )
            for out, (first, own, replicas) in zip(outs, shares, strict=True)
        ]
        kind: Kind = "matrix" if outs[0].rows is None else "head"
        self.weight = attach_spec(weight, ParamSpec(tuple(pieces), decay=True, kind=kind))
        self.bias: nn.Parameter | None = None
        if bias:
            zeros = Init("zeros")
            pieces = [
                Piece(f"{out.name}.bias", (own,), (out.features,), (first,), zeros, out.rows, replicas)
                for out, (first, own, replicas) in zip(outs, shares, strict=True)
            ]
            parameter = nn.Parameter(torch.empty(sum(self.sizes), dtype=dtype, device=device))
            self.bias = attach_spec(parameter, ParamSpec(tuple(pieces), decay=False))

    def forward(self, x: Tensor) -> Tensor:
        """(…, S, I), or (…, S/R, I) under sequence parallel, → (…, S, Σ sizes)."""
        return self.multiply(x, self.weight, self.bias, self.grid)


class RowParallelLinear(nn.Module):
    """y = Σ_r x_r W_rᵀ + b: each tp rank brings its share of the input features; see :func:`row_linear`."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        name: str,
        bias: bool,
        grid: Grid,
        dtype: torch.dtype,
        device: torch.device | str | None = None,
        unit: int = 1,
        init: Init = Init(),  # noqa: B008 - frozen
    ) -> None:
        """``name``, ``unit`` (of the input features) as in :class:`Out`; the features are all ranks'."""
        super().__init__()
        self.grid = grid
        self.multiply: Multiply = row_linear
        if in_features % (unit * grid.tp.size):
            raise ValueError(f"{name}: {in_features} features in units of {unit} over {grid.tp.size} tp ranks")
        own = in_features // grid.tp.size
        weight = nn.Parameter(torch.empty(out_features, own, dtype=dtype, device=device))
        piece = Piece(
            f"{name}.weight",
            (out_features, own),
            (out_features, in_features),
            (0, grid.tp.rank * own),
            init,
        )
        self.weight = attach_spec(weight, ParamSpec((piece,), decay=True))
        self.bias: nn.Parameter | None = None
        if bias:
            shape = (out_features,)
            piece = Piece(f"{name}.bias", shape, shape, (0,), Init("zeros"))
            parameter = nn.Parameter(torch.empty(shape, dtype=dtype, device=device))
            axes = (*DATA, "tp") if grid.sequence_parallel else DATA
            spec = ParamSpec((piece,), decay=False, summed_over=axes)
            self.bias = attach_spec(parameter, spec)

    def forward(self, x: Tensor) -> Tensor:
        """(…, S, I/R) → (…, S, O), or (…, S/R, O) under sequence parallel."""
        return self.multiply(x, self.weight, self.bias, self.grid)
