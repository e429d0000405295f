"""The flash-attn packages: 2 (``flash_attn``), 3 for Hopper (``flash_attn_interface``) and 4 (``flash_attn.cute``).

All take whole sequences (B, S, N or K, D) and packed ones (T, N or K, D) with ``cu_seqlens``, share keys and values
between query heads without copying, and have a deterministic backward pass, which is used when torch is asked for
deterministic algorithms (``torch.use_deterministic_algorithms``).

Shapes: B batch, S sequence, N query heads, K key/value heads, D head size, T tokens of all documents.
"""

from __future__ import annotations

import functools
import importlib
import math
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.packages import why_not_importable

# Where each version may be; wheels of version 3 are installed under either name.
MODULES = {
    2: ("flash_attn",),
    3: ("flash_attn_interface", "flash_attn_3.flash_attn_interface"),
    4: ("flash_attn.cute",),
}
FUNCTIONS = ("flash_attn_func", "flash_attn_varlen_func")


def why_not_installed(version: int) -> str | None:
    """None if a version is here and has what is called; else why not: not installed, or broken."""
    said = [why_not_importable(name, functions=FUNCTIONS) for name in MODULES[version]]
    broken = [why for why in said if why is not None and "broken" in why]
    return None if None in said else (broken or said)[0]


def fits(q: Tensor, k: Tensor, v: Tensor, largest: int = 256) -> bool:
    """Half precision, heads up to 256 channels in steps of 8."""
    size = q.shape[-1]
    return q.dtype in (torch.bfloat16, torch.float16) and size <= largest and size % 8 == 0


def fits_4(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Version 4 has kernels for up to 128 channels on all of its cards."""
    return fits(q, k, v, largest=128)


def whole(version: int, q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, window: int | None = None) -> Tensor:
    """Causal attention over whole sequences, of the last ``window`` tokens if given. → (B, S, N, D)."""
    return _output(_package(version).flash_attn_func(q_BSND, k_BSKD, v_BSKD, **_options(q_BSND, window)))


def packed(
    version: int,
    q_TND: Tensor,
    k_TKD: Tensor,
    v_TKD: Tensor,
    cu_seqlens: Tensor,
    longest: int,
    window: int | None = None,
) -> Tensor:
    """Causal attention within each document, of the last ``window`` tokens if given. → (T, N, D)."""
    result = _package(version).flash_attn_varlen_func(
        q_TND,
        k_TKD,
        v_TKD,
        cu_seqlens_q=cu_seqlens,
        cu_seqlens_k=cu_seqlens,
        max_seqlen_q=longest,
        max_seqlen_k=longest,
        **_options(q_TND, window),
    )
    return _output(result)


def _options(q: Tensor, window: int | None) -> dict[str, Any]:
    """Of all calls. Their window counts the tokens to the left and to the right of a query, without itself."""
    return {
        "softmax_scale": 1.0 / math.sqrt(q.shape[-1]),
        "causal": True,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        **({} if window is None else {"window_size": (window - 1, 0)}),
    }


@functools.cache
def _package(version: int) -> ModuleType:
    found = [name for name in MODULES[version] if why_not_importable(name, functions=FUNCTIONS) is None]
    return importlib.import_module(found[0])


def _output(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Early releases of version 3, and version 4, return the statistics as well."""
    return result[0] if isinstance(result, tuple) else result
