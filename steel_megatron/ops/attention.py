"""Causal attention: whole sequences, packed documents, and a few new tokens on top of a cache.

Shapes: B batch, S sequence, N query heads, K key/value heads (N a multiple of K), D head size, T = B·S tokens of a
packed micro-batch, P positions in a cache.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend

from steel_megatron.ops import flash_attention, sdpa
from steel_megatron.ops.backends import pick
from steel_megatron.ops.cases import Case, Setting
from steel_megatron.ops.dropout import ATTENTION_PROBABILITIES, DropoutKey, drop_elements
from steel_megatron.ops.matmul import multiply
from steel_megatron.ops.native import attention as native
from steel_megatron.ops.operations import BY_SHIPPED_TIMES, Operation, declare
from steel_megatron.ops.windowed import seen, windowed


@dataclass(frozen=True)
class Packing:
    """Documents of a micro-batch, one after the other over its flattened B·S tokens; each attends within itself.

    A document does not reach over the border of two samples. ``cu_seqlens`` (documents + 1) int32 holds where they
    begin, on the micro-batch's device; ``lengths`` the same as lengths on the host. No mask is ever made.
    """

    lengths: tuple[int, ...]
    cu_seqlens: Tensor
    longest: int

    @classmethod
    def from_lengths(cls, lengths: Sequence[int], device: torch.device | str) -> Packing:
        starts = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
        return cls(tuple(lengths), starts.to(device, non_blocking=True), max(lengths))


@dataclass(frozen=True)
class AttentionDropout:
    """Dropout on attention probabilities: its rate, its key, and where the heads of this rank begin."""

    rate: float
    key: DropoutKey
    layer: int
    first_head: int = 0


def attention(
    q_BSND: Tensor,
    k_BSKD: Tensor,
    v_BSKD: Tensor,
    packing: Packing | None = None,
    dropout: AttentionDropout | None = None,
    window: int | None = None,
) -> Tensor:
    """softmax(q kᵀ / √D) v over each token's past, and within its document if ``packing`` is given. → (B, S, N, D).

    ``window``: only the token itself and those before it, so many in all.
    """
    if window is not None and window >= (q_BSND.shape[1] if packing is None else packing.longest):
        window = None  # it hides nothing
    if dropout is not None:
        return _explicit(q_BSND, k_BSKD, v_BSKD, packing, dropout, window)
    if window is not None:
        return _in_window(q_BSND, k_BSKD, v_BSKD, packing, window)
    if packing is None:
        return _WHOLE[pick("attention", q_BSND, k_BSKD, v_BSKD)](q_BSND, k_BSKD, v_BSKD)
    backend = pick("packed_attention", q_BSND, k_BSKD, v_BSKD)
    if backend in _PACKED:
        q, k, v = (x.flatten(0, 1) for x in (q_BSND, k_BSKD, v_BSKD))
        return _PACKED[backend](q, k, v, packing).view_as(q_BSND)
    return _per_document(_WHOLE[backend], q_BSND, k_BSKD, v_BSKD, packing)


def cached_attention(
    q_BSND: Tensor, k_BPKD: Tensor, v_BPKD: Tensor, padding_B: Tensor | None = None, window: int | None = None
) -> Tensor:
    """Attention of the last S of P positions over all P; ``padding_B`` positions at the left of a row do not count.

    ``window`` as in :func:`attention`.
    """
    new, total = q_BSND.shape[1], k_BPKD.shape[1]
    if padding_B is None and new == total:
        return sdpa.causal(q_BSND, k_BPKD, v_BPKD) if window is None else windowed(q_BSND, k_BPKD, v_BPKD, window)
    mask = None
    if new > 1 or padding_B is not None or (window is not None and total > window):
        mask = seen(new, total, window, q_BSND.device).view(1, 1, new, total)
        if padding_B is not None:
            # A padding query sees itself, so that its softmax is not empty; nobody reads its output.
            key = torch.arange(total, device=q_BSND.device)
            real = key.view(1, 1, 1, total) >= padding_B.view(-1, 1, 1, 1)
            mask = (mask & real) | (key == key[total - new :].unsqueeze(1))
    return sdpa.masked(q_BSND, k_BPKD, v_BPKD, mask)


def _in_window(q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, packing: Packing | None, window: int) -> Tensor:
    """A window that is shorter than the longest document."""
    backend = pick("window_attention", q_BSND, k_BSKD, v_BSKD)
    if backend == "sdpa" or (backend == "varlen" and "window_size" not in _varlen_parameters()):
        whole = functools.partial(windowed, window=window)
        if packing is None:
            return whole(q_BSND, k_BSKD, v_BSKD)
        return _per_document(whole, q_BSND, k_BSKD, v_BSKD, packing)
    if packing is None:
        if backend != "varlen":
            return _WHOLE[backend](q_BSND, k_BSKD, v_BSKD, window=window)
        batch, length = q_BSND.shape[:2]
        starts = _sample_starts(batch, length).to(q_BSND.device)
        packing = Packing((length,) * batch, starts, length)
    q, k, v = (x.flatten(0, 1) for x in (q_BSND, k_BSKD, v_BSKD))
    return _PACKED[backend](q, k, v, packing, window=window).view_as(q_BSND)


def _varlen(q_TND: Tensor, k_TKD: Tensor, v_TKD: Tensor, packing: Packing, window: int | None = None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    heads, groups = q_TND.shape[1], k_TKD.shape[1]
    arguments, takes_groups = _varlen_arguments(window)
    if takes_groups:
        arguments["enable_gqa"] = heads != groups
    elif heads != groups:
        k_TKD, v_TKD = (x.repeat_interleave(heads // groups, dim=1) for x in (k_TKD, v_TKD))
    starts, longest = packing.cu_seqlens, packing.longest
    output = varlen_attn(q_TND, k_TKD, v_TKD, starts, starts, longest, longest, **arguments)
    assert isinstance(output, Tensor), "the statistics were not asked for"
    return output


def _flash_packed(
    version: int, q_TND: Tensor, k_TKD: Tensor, v_TKD: Tensor, packing: Packing, window: int | None = None
) -> Tensor:
    return flash_attention.packed(version, q_TND, k_TKD, v_TKD, packing.cu_seqlens, packing.longest, window)


def _steel(q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor) -> Tensor:
    batch, length = q_BSND.shape[:2]
    q, k, v = (x.flatten(0, 1) for x in (q_BSND, k_BSKD, v_BSKD))
    return native.attention(q, k, v, _sample_starts(batch, length))[0].view(q_BSND.shape)


def _steel_packed(q_TND: Tensor, k_TKD: Tensor, v_TKD: Tensor, packing: Packing) -> Tensor:
    return native.attention(q_TND, k_TKD, v_TKD, packing.cu_seqlens)[0]


@functools.lru_cache(maxsize=16)
def _sample_starts(batch: int, length: int) -> Tensor:
    with torch.inference_mode(False):  # the first to ask may be generation, and training is given the same
        return torch.arange(batch + 1, dtype=torch.int32) * length


_WHOLE: dict[str, Callable[..., Tensor]] = {
    "steel_cpu": _steel,
    "flash4": functools.partial(flash_attention.whole, 4),
    "flash3": functools.partial(flash_attention.whole, 3),
    "flash2": functools.partial(flash_attention.whole, 2),
    "cudnn": functools.partial(sdpa.causal, kernel=SDPBackend.CUDNN_ATTENTION),
    "sdpa_flash": functools.partial(sdpa.causal, kernel=SDPBackend.FLASH_ATTENTION),
    "unfused": functools.partial(sdpa.causal, kernel=SDPBackend.MATH),
    "sdpa": sdpa.causal,
}
# For all documents at once; the others of _WHOLE run document by document.
_PACKED: dict[str, Callable[..., Tensor]] = {
    "steel_cpu": _steel_packed,
    "flash4": functools.partial(_flash_packed, 4),
    "flash3": functools.partial(_flash_packed, 3),
    "flash2": functools.partial(_flash_packed, 2),
    "varlen": _varlen,
}


def _varlen_arguments(window: int | None) -> tuple[dict[str, Any], bool]:
    """How this torch is told that attention is causal, and whether it takes grouped heads: it changed by release."""
    known = _varlen_parameters()
    past = {"window_size": (-1 if window is None else window - 1, 0)}
    return (past if "window_size" in known else {"is_causal": True}), "enable_gqa" in known


@functools.cache
def _varlen_parameters() -> frozenset[str]:
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)


def _per_document(
    whole: Callable[..., Tensor], q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, packing: Packing
) -> Tensor:
    parts = [x.flatten(0, 1).split(packing.lengths) for x in (q_BSND, k_BSKD, v_BSKD)]
    outputs = [whole(q[None], k[None], v[None]).squeeze(0) for q, k, v in zip(*parts, strict=True)]
    return torch.cat(outputs).view_as(q_BSND)


def _explicit(
    q_BSND: Tensor,
    k_BSKD: Tensor,
    v_BSKD: Tensor,
    packing: Packing | None,
    dropout: AttentionDropout,
    window: int | None,
) -> Tensor:
    """Probabilities written out, so that dropout can be counted by element; memory grows with the square of lengths."""
    batch, length, heads, size = q_BSND.shape
    device = q_BSND.device
    numbers_N = torch.arange(dropout.first_head, dropout.first_head + heads, device=device)
    rows = [numbers_N, torch.arange(length, device=device)]
    keys_BNS = dropout.key.row_keys(dropout.layer, ATTENTION_PROBABILITIES, rows)
    outputs = []
    for sample, start, stop in _documents(batch, length, packing):
        here = slice(start, stop)
        q = q_BSND[sample, here].transpose(0, 1)
        k, v = (x[sample, here].transpose(0, 1).repeat_interleave(heads // x.shape[2], 0) for x in (k_BSKD, v_BSKD))
        hidden = ~seen(stop - start, stop - start, window, device)
        scores = multiply(q, k.transpose(1, 2)).float().mul(1 / math.sqrt(size)).masked_fill(hidden, -torch.inf)
        probabilities = scores.softmax(-1)
        # Columns are counted within the sample, so packed and whole samples agree where they see the same keys.
        dropped = drop_elements(probabilities, keys_BNS[sample, :, here], dropout.rate, first_column=start)
        outputs.append(multiply(dropped.to(v.dtype), v).transpose(0, 1))
    return torch.cat(outputs).view(batch, length, heads, size)


def _documents(batch: int, length: int, packing: Packing | None) -> Iterator[tuple[int, int, int]]:
    """(sample, first position, end) of each document, in order."""
    place = 0
    for document in packing.lengths if packing is not None else (length,) * batch:
        sample, start = divmod(place, length)
        yield sample, start, start + document
        place += document


def _case(at: Setting) -> Case:
    return at.differentiable(attention, at.heads())


def _packed_case(at: Setting) -> Case:
    """Four documents per sample, of different lengths."""
    cuts = [at.length // 8, at.length // 4, at.length // 4]
    packing = Packing.from_lengths([*cuts, at.length - sum(cuts)] * at.batch, at.device)
    return at.differentiable(lambda q, k, v: attention(q, k, v, packing), at.heads())


_NEWEST = {
    "flash3": "the newest FlashAttention for this card, not timed on it",
    "flash4": "the newest FlashAttention for this card, not timed on it",
}
_ON_CPU = {"steel_cpu": BY_SHIPPED_TIMES}
declare(
    "attention",
    Operation(
        "attention",
        ("flash4", "flash3", "flash2", "cudnn", "steel_cpu", "sdpa_flash", "unfused", "sdpa"),
        {"cpu": _ON_CPU, "cuda": {**_NEWEST, "sdpa": "torch picks its kernel by card and shape"}},
        "--attention-backend",
        case=_case,
    ),
)
declare(
    "packed_attention",
    Operation(
        "attention within documents",
        ("flash4", "flash3", "flash2", "varlen", "cudnn", "steel_cpu", "sdpa_flash", "unfused", "sdpa"),
        {"cpu": _ON_CPU, "cuda": {**_NEWEST, "varlen": "one launch for all documents, no mask"}},
        "--attention-backend",
        case=_packed_case,
    ),
)
declare(
    "window_attention",
    Operation(
        "attention to a window",
        ("flash4", "flash3", "flash2", "varlen", "sdpa"),
        {"cuda": {**_NEWEST, "varlen": "the window is in torch's kernel"}},
        "--attention-backend",
        measured=False,
    ),
)
