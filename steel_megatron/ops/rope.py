"""Rotary position embedding (Su et al., 2021), half-split as in Llama: channel i is paired with channel i + R/2.

Shapes: B batch, S sequence, N heads, D head size, R rotated channels (the first R of D), P positions of the table.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from steel_megatron.config import ModelConfig
from steel_megatron.ops.backends import fused
from steel_megatron.ops.cases import Case, Setting
from steel_megatron.ops.compiled import rope as compiled
from steel_megatron.ops.native import rope as native
from steel_megatron.ops.operations import KERNELS_OR_COMPILED, Operation, declare
from steel_megatron.ops.strips import row_strips

_FUSED = {"steel": native, "compiled": compiled}


@dataclass(frozen=True)
class RopeSettings:
    """What fixes the rotation of a position: see the knobs ``rotary_*`` and ``rope_scaling_*``."""

    rotary_dim: int
    base: float
    scaling_type: str = "none"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None

    @classmethod
    def from_config(cls, config: ModelConfig) -> RopeSettings:
        """The settings of a model."""
        return cls(
            rotary_dim=int(config.head_dim * config.rotary_percent),
            base=config.rotary_base,
            scaling_type=config.rope_scaling_type,
            **{field.name: getattr(config, f"rope_scaling_{field.name}") for field in fields(cls)[3:]},
        )


def frequencies(settings: RopeSettings) -> tuple[Tensor, float]:
    """fp32 angles per position (R/2), and the factor on cosine and sine.

    ``linear`` divides all frequencies (Chen et al., 2023); ``llama3`` divides those of long wavelength and blends in
    between (Llama 3.1's rule); ``yarn`` blends by the number of rotations within the original context and raises the
    attention's temperature (Peng et al., 2023).
    """
    half = settings.rotary_dim // 2
    exponents = torch.arange(0, settings.rotary_dim, 2, dtype=torch.float32) / settings.rotary_dim
    original = 1.0 / settings.base**exponents
    if settings.scaling_type == "none":
        return original, 1.0
    stretched = original / settings.factor
    if settings.scaling_type == "linear":
        return stretched, 1.0
    if settings.scaling_type == "llama3":
        rotations = settings.original_max_position_embeddings * original / (2 * math.pi)
        low, high = settings.low_freq_factor, settings.high_freq_factor
        keep = ((rotations - low) / (high - low)).clamp(0.0, 1.0)
        return keep * original + (1.0 - keep) * stretched, 1.0
    if settings.scaling_type == "yarn":
        first = max(math.floor(_channel_of_rotations(settings, settings.beta_fast)), 0)
        last = min(math.ceil(_channel_of_rotations(settings, settings.beta_slow)), settings.rotary_dim - 1)
        span = max(last - first, 0.001)
        stretch = ((torch.arange(half, dtype=torch.float32) - first) / span).clamp(0.0, 1.0)
        return (1.0 - stretch) * original + stretch * stretched, _yarn_attention_factor(settings)
    raise ValueError(f"unknown RoPE scaling {settings.scaling_type!r}")


def _channel_of_rotations(settings: RopeSettings, rotations: float) -> float:
    """The (fractional) frequency index that turns ``rotations`` times within the original context."""
    wavelength = settings.original_max_position_embeddings / (rotations * 2 * math.pi)
    return settings.rotary_dim * math.log(wavelength) / (2 * math.log(settings.base))


def _yarn_attention_factor(settings: RopeSettings) -> float:
    if settings.attention_factor is not None:
        return settings.attention_factor
    return 0.1 * math.log(settings.factor) + 1.0 if settings.factor > 1.0 else 1.0


@dataclass(frozen=True)
class Rotation:
    """fp32 cosine and sine (1 or B, S, 1, R/2) of the positions of a micro-batch."""

    cos: Tensor
    sin: Tensor


def rotation(settings: RopeSettings, positions: Tensor | int, device: torch.device, first: int = 0) -> Rotation:
    """The rotation of given positions (int64, (B, S)), or of ``positions`` = S consecutive ones from ``first`` on."""
    if isinstance(positions, int):
        cos, sin = _table(settings, _table_length(first + positions), device)
        window = slice(first, first + positions)
        return Rotation(cos[None, window, None], sin[None, window, None])
    cos, sin = _positions_table(settings, positions)
    return Rotation(cos.unsqueeze(2), sin.unsqueeze(2))


def rotate(x_BSND: Tensor, by: Rotation) -> Tensor:
    """Rotates the first R channels of each head; computed in fp32, rounded once to the type of the input."""
    kernels = fused("rope", _FUSED, x_BSND)
    if kernels is not None:
        return kernels.rope(x_BSND, by.cos, by.sin, False)
    return _Rotate.apply(x_BSND, by.cos, by.sin)


def rotate_heads_(qkv_BSC: Tensor, by: Rotation, sizes: Sequence[int], head_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as heads, views of a projection's output, in which queries and keys are rotated.

    ``sizes``: channels of the three. Nothing else may read the output, and nothing may compute this again from it.
    Its gradient is written once, from those of the three: there is neither a copy of heads nor a concatenation.
    """
    q_BSND, k_BSKD, v_BSKD = _RotateHeads.apply(qkv_BSC, by.cos, by.sin, sizes, head_dim)
    return q_BSND, k_BSKD, v_BSKD


class _Rotate(torch.autograd.Function):
    """Linear in x, so nothing of it is saved: the backward pass turns the gradient the other way."""

    @staticmethod
    def forward(ctx: Any, x_BSND: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x_BSND, cos, sin, torch.empty_like(x_BSND, memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, -sin, torch.empty_like(grads[0], memory_format=torch.contiguous_format)), None, None


class _RotateHeads(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, qkv_BSC: Tensor, cos: Tensor, sin: Tensor, sizes: Sequence[int], head_dim: int
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(cos, sin)
        turned = qkv_BSC[..., : sizes[0] + sizes[1]].unflatten(-1, (-1, head_dim))
        kernels = fused("rope", _FUSED, qkv_BSC)
        if kernels is not None:
            kernels.rope_(turned, cos, sin, False)
        else:
            _turn(turned, cos, sin, turned)
        return tuple(part.unflatten(-1, (-1, head_dim)) for part in qkv_BSC.split(list(sizes), dim=-1))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        kernels = fused("rope", _FUSED, *grads)
        if kernels is not None:
            return kernels.rope_heads_backward(*grads, cos, sin), None, None, None, None
        sizes = [grad.shape[2] * grad.shape[3] for grad in grads]
        result = grads[0].new_empty(*grads[0].shape[:2], sum(sizes))
        q, k, v = (part.unflatten(-1, (-1, grads[0].shape[3])) for part in result.split(sizes, dim=-1))
        _turn(grads[0], cos, -sin, q)
        _turn(grads[1], cos, -sin, k)
        v.copy_(grads[2])
        return result, None, None, None, None


def _turn(x_BSND: Tensor, cos: Tensor, sin: Tensor, result: Tensor) -> Tensor:
    """Writes the rotated heads to ``result``, which may be what they are read from."""
    half = cos.shape[-1]
    if result is not x_BSND:
        result[..., 2 * half :] = x_BSND[..., 2 * half :]
    for samples, rows in _tiles(x_BSND):
        part = x_BSND[samples, rows, :, : 2 * half].float()
        turned = torch.empty_like(part)
        c, s = (t[samples if len(t) > 1 else slice(None), rows] for t in (cos, sin))
        first, second = part.chunk(2, dim=-1)
        turned_first, turned_second = turned.chunk(2, dim=-1)
        torch.mul(first, c, out=turned_first).addcmul_(second, s, value=-1)
        torch.mul(second, c, out=turned_second).addcmul_(first, s)
        result[samples, rows, :, : 2 * half] = turned
    return result


def _tiles(x_BSND: Tensor) -> list[tuple[slice, slice]]:
    batch, length, heads, size = x_BSND.shape
    if x_BSND.device.type != "cpu":
        return [(slice(None), slice(None))]
    rows = list(row_strips(length, heads * size, x_BSND.device))
    return [(slice(sample, sample + 1), part) for sample in range(batch) for part in rows]


def _table_length(positions: int) -> int:
    return max(1 << (positions - 1).bit_length(), 256)


@functools.lru_cache(maxsize=16)
def _table(settings: RopeSettings, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine (P, R/2) of the positions [0, length)."""
    # A table first asked for in inference mode must still serve training.
    with torch.inference_mode(False), torch.no_grad():
        return _positions_table(settings, torch.arange(length, device=device))


def _positions_table(settings: RopeSettings, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine (…, R/2) of any positions (…)."""
    per_position, factor = _frequencies_on(settings, positions.device)
    angles = positions.unsqueeze(-1).float() * per_position
    return angles.cos() * factor, angles.sin() * factor


@functools.lru_cache(maxsize=16)
def _frequencies_on(settings: RopeSettings, device: torch.device) -> tuple[Tensor, float]:
    """:func:`frequencies` copied to a device once: the host would wait for a copy."""
    with torch.inference_mode(False), torch.no_grad():
        per_position, factor = frequencies(settings)
        return per_position.to(device), factor


def _case(at: Setting) -> Case:
    by = rotation(RopeSettings.from_config(at.model), at.length, at.device)
    return at.differentiable(lambda x_BSND: rotate(x_BSND, by), at.heads()[:1])


declare("rope", Operation("RoPE", ("steel", "compiled", "torch"), KERNELS_OR_COMPILED, price=3.6, case=_case))
