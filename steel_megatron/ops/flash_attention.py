"""The flash-attn packages: version 2 (``flash_attn``) and version 3 for Hopper (``flash_attn_interface``).

Both take whole sequences (B, S, N or K, D) and packed ones (T, N or K, D) with ``cu_seqlens``, share keys and values
between query heads without copying, and have a deterministic backward pass, which is used when torch is asked for
deterministic algorithms (``torch.use_deterministic_algorithms``).

Shapes: B batch, S sequence, N query heads, K key/value heads, D head size, T tokens of all documents.
"""

from __future__ import annotations

import functools
import importlib
import math
from types import ModuleType

import torch
from torch import Tensor

MODULES = {2: "flash_attn", 3: "flash_attn_interface"}


def fits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Half precision, heads up to 256 channels in steps of 8."""
    size = q.shape[-1]
    return q.dtype in (torch.bfloat16, torch.float16) and size <= 256 and size % 8 == 0


def whole(version: int, q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor) -> Tensor:
    """Causal attention over whole sequences. → (B, S, N, D)."""
    result = _package(version).flash_attn_func(
        q_BSND,
        k_BSKD,
        v_BSKD,
        softmax_scale=1.0 / math.sqrt(q_BSND.shape[-1]),
        causal=True,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    return _output(result)


def packed(version: int, q_TND: Tensor, k_TKD: Tensor, v_TKD: Tensor, cu_seqlens: Tensor, longest: int) -> Tensor:
    """Causal attention within each document. → (T, N, D)."""
    result = _package(version).flash_attn_varlen_func(
        q_TND,
        k_TKD,
        v_TKD,
        cu_seqlens_q=cu_seqlens,
        cu_seqlens_k=cu_seqlens,
        max_seqlen_q=longest,
        max_seqlen_k=longest,
        softmax_scale=1.0 / math.sqrt(q_TND.shape[-1]),
        causal=True,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    return _output(result)


@functools.cache
def _package(version: int) -> ModuleType:
    return importlib.import_module(MODULES[version])


def _output(result: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Early releases of version 3 return the statistics as well."""
    return result[0] if isinstance(result, tuple) else result
