"""What a block computes between its matmuls, as torch.compile fuses it.

A block is not compiled whole. Its matmuls add weight gradients to a buffer, wait for parameters and communicate;
attention depends on the documents' lengths; dropout is integer arithmetic whose result must not depend on a compiler.
All of these stay as they are. Between them lie pure functions of tensors, and these are compiled, each once for all
blocks: shapes do not change during a run, so nothing is compiled again, whatever the layout and the documents.

Shapes: B batch, S sequence, N query heads and K key/value heads of this rank, D head size, C = (N + 2K) D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from steel_megatron.config import ConfigError
from steel_megatron.ops.activation import Activation
from steel_megatron.ops.constants import mark_constants
from steel_megatron.ops.rope import Rotation
from steel_megatron.parallel.tensor.weight_grad import await_parameter

Affine = tuple[Tensor, Tensor | None, float]  # weight, bias (LayerNorm's), epsilon


class NormLike(Protocol):
    """A norm's parameters."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    epsilon: float


class Pieces:
    """The compiled functions; one object serves all blocks of a process.

    Making it empties the process's cache of compiled code, so that a process may build one model after another.

    Args:
        device: where the model runs; a small function is compiled for it at once.
        backend: of torch.compile.

    Raises:
        ConfigError: torch.compile does not work here.
    """

    def __init__(self, device: torch.device, backend: str | Callable[..., Any] = "inductor") -> None:
        torch.compiler.reset()
        mark_constants()

        def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
            return torch.compile(function, fullgraph=True, dynamic=False, backend=backend)

        _try(compiled(normalise), device)
        self._norm = compiled(normalise)
        self._add_norm = compiled(add_and_normalise)
        self._heads = compiled(heads)
        self._activate = compiled(activate)

    def norm(
        self, x: Tensor, residual: Tensor | None, weight: Tensor, bias: Tensor | None, epsilon: float
    ) -> tuple[Tensor, Tensor]:
        """(normed, what was normed); a residual is added first."""
        if residual is None:
            return self._norm(x, weight, bias, epsilon), x
        return self._add_norm(x, residual, weight, bias, epsilon)

    def heads(
        self,
        qkv_BSC: Tensor,
        sizes: Sequence[int],
        head_dim: int,
        rotation: Rotation | None,
        norms: tuple[NormLike, NormLike] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries (B, S, N, D), keys and values (B, S, K, D), normalised and rotated where the model does so."""
        affine = None
        if norms is not None:
            for norm in norms:
                await_parameter(norm.weight)  # the module's own hook is not called
            affine = [(norm.weight, norm.bias, norm.epsilon) for norm in norms]
        angles = None if rotation is None else (rotation.cos, rotation.sin)
        return self._heads(qkv_BSC, list(sizes), head_dim, angles, affine)

    def activate(self, up: Tensor, activation: Activation) -> Tensor:
        """The gated ones halve the channels."""
        return self._activate(up, activation.function, activation.gated)


def normalise(x: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float) -> Tensor:
    """RMSNorm, or LayerNorm if there is a bias; in fp32, rounded once."""
    x_fp32 = x.float()
    if bias is not None:
        return F.layer_norm(x_fp32, weight.shape, weight.float(), bias.float(), epsilon).to(x.dtype)
    scale = torch.rsqrt(x_fp32.square().mean(-1, keepdim=True) + epsilon)
    return (x_fp32 * scale * weight.float()).to(x.dtype)


def add_and_normalise(
    x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor]:
    """(:func:`normalise` of the sum, the sum)."""
    total = x + residual
    return normalise(total, weight, bias, epsilon), total


def heads(
    qkv_BSC: Tensor,
    sizes: list[int],
    head_dim: int,
    angles: tuple[Tensor, Tensor] | None,
    affine: list[Affine] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The parts of the projection as heads. Values are copied: as a view they would keep all of the projection."""
    q_BSND, k_BSKD, v_BSKD = (part.unflatten(-1, (-1, head_dim)) for part in qkv_BSC.split(sizes, dim=-1))
    if affine is not None:
        q_BSND, k_BSKD = normalise(q_BSND, *affine[0]), normalise(k_BSKD, *affine[1])
    if angles is not None:
        q_BSND, k_BSKD = turn(q_BSND, *angles), turn(k_BSKD, *angles)
    return q_BSND.contiguous(), k_BSKD.contiguous(), v_BSKD.clone(memory_format=torch.contiguous_format)


def turn(x_BSND: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """RoPE: see :func:`steel_megatron.ops.rope.rotate`."""
    half = cos.shape[-1]
    first, second, rest = x_BSND.split([half, half, x_BSND.shape[-1] - 2 * half], dim=-1)
    first, second = first.float(), second.float()
    turned = first * cos - second * sin, second * cos + first * sin
    return torch.cat([*(part.to(x_BSND.dtype) for part in turned), rest], dim=-1)


def activate(up: Tensor, function: Callable[[Tensor], Tensor], gated: bool) -> Tensor:
    """See :class:`steel_megatron.ops.activation.Activation`."""
    if gated:
        gate, up = up.chunk(2, dim=-1)
        return function(gate) * up
    return function(up)


def _try(normalise: Callable[..., Tensor], device: torch.device) -> None:
    ones = torch.ones(8, device=device)
    try:
        normalise(ones, ones, None, 1.0)
    except Exception as error:  # whatever the compiler's parts raise
        cause = " ".join(str(error).strip().partition("\n\n")[0].split())  # advice on debugging follows
        raise ConfigError(
            f"--compile-blocks on {device.type}: {cause or type(error).__name__}",
            rule="torch.compile builds code for the device: with a C++ compiler for a CPU, with Triton for a GPU",
            fix="install g++ and Python's headers (CPU) or triton (GPU), or leave out --compile-blocks",
        ) from error
