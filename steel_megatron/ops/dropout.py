"""Dropout whose mask is arithmetic: a pure function of (seed, sample, layer, site, row, column).

No random state is kept. A mask does not depend on how samples are batched, on the layout or on where a run was
resumed, and it is computed again in the backward pass instead of being stored.

Shapes: B batch, S sequence, H channels; a *row* of an activation is one token of one sample, a *column* one channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steel_megatron.ops.strips import row_strips

# Places in the model where dropout acts.
EMBEDDING, ATTENTION_PROBABILITIES, ATTENTION_OUTPUT, MLP_OUTPUT = range(4)

_WORD = (1 << 64) - 1
_WEYL = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@dataclass(frozen=True)
class DropoutKey:
    """What fixes all dropout masks of a micro-batch: the run's seed and each sample's number in the run."""

    seed: int
    sample_ids_B: Tensor  # int64

    def row_keys(self, layer: int, site: int, rows: Iterable[Tensor]) -> Tensor:
        """int64 keys of shape (B, …): one per row of the activation at a site.

        ``rows``: int64 index tensors that number a sample's rows, one per further dimension (the position; head and
        position for attention probabilities). They are global indices, so that any slice of the model finds its part.
        """
        keys = self._sample_keys(layer, site)
        for index in rows:
            keys = _absorb(keys.unsqueeze(-1), index.to(keys.device))
        return keys

    def token_keys(self, layer: int, site: int, tokens_T: Tensor, length: int) -> Tensor:
        """Those of some tokens (int64) of the samples one after another, of ``length`` positions each: (T,)."""
        return _absorb(self._sample_keys(layer, site)[tokens_T // length], tokens_T % length)

    def _sample_keys(self, layer: int, site: int) -> Tensor:
        start = 0
        for number in (self.seed, layer, site):
            start = _mix_int((start + (number + 1) * _WEYL) & _WORD)
        return _absorb(signed(start), self.sample_ids_B)


def dropout(
    x_BSH: Tensor,
    rate: float,
    key: DropoutKey | None,
    layer: int,
    site: int,
    *,
    first_token: int = 0,
    length: int | None = None,
    first_channel: int = 0,
) -> Tensor:
    """Zeroes each element with probability ``rate`` and scales the others by 1 / (1 - rate).

    Without a key (evaluation) or rate the input is returned.

    Args:
        first_token: where ``x`` begins among the tokens of all samples of the key, sample after sample.
        length: positions of a sample; those of ``x`` when None.
        first_channel: where its channels begin.
    """
    if key is None or rate == 0.0:
        return x_BSH
    length, tokens = length or x_BSH.shape[1], x_BSH.shape[0] * x_BSH.shape[1]
    if tokens == len(key.sample_ids_B) * length:
        keys = key.row_keys(layer, site, [torch.arange(length, device=x_BSH.device)])
    else:
        keys = key.token_keys(layer, site, torch.arange(first_token, first_token + tokens, device=x_BSH.device), length)
    return drop_elements(x_BSH, keys, rate, first_channel)


def drop_elements(x: Tensor, row_keys: Tensor, rate: float, first_column: int = 0) -> Tensor:
    """Dropout on x (…, C) given a key for each of its rows (…)."""
    return _Dropout.apply(x, row_keys, rate, first_column)


def keep_mask(row_keys_R: Tensor, columns: int, rate: float, first_column: int = 0) -> Tensor:
    """bool (R, columns), True with probability 1 - rate; (r, c) depends on (row_keys[r], first_column + c) only.

    The hash is Wellons' lowbias32 over the column, keyed before and between its two multiplications.
    """
    index = torch.arange(first_column, first_column + columns, device=row_keys_R.device, dtype=torch.int32)
    low = (row_keys_R << 32 >> 32).to(torch.int32).unsqueeze(1)
    high = (row_keys_R >> 32).to(torch.int32).unsqueeze(1)
    # 32-bit products wrap around, which is what the hash wants; right shifts are masked to be logical.
    x = (index * _signed32(0x9E3779B1)).unsqueeze(0) ^ low
    x ^= (x >> 16) & 0xFFFF
    x *= 0x7FEB352D
    x ^= (x >> 15) & 0x1FFFF
    x ^= high
    x *= _signed32(0x846CA68B)
    x ^= (x >> 16) & 0xFFFF
    return x >= round(rate * 2**32) - 2**31


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, row_keys: Tensor, rate: float, first_column: int) -> Tensor:
        ctx.save_for_backward(row_keys)
        ctx.rate, ctx.first_column = rate, first_column
        return _drop(x, row_keys, rate, first_column)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (row_keys,) = ctx.saved_tensors
        return _drop(grads[0], row_keys, ctx.rate, ctx.first_column), None, None, None


def _drop(x: Tensor, row_keys: Tensor, rate: float, first_column: int) -> Tensor:
    columns = x.shape[-1]
    flat, keys = x.reshape(-1, columns), row_keys.reshape(-1)
    result = torch.empty_like(flat)
    for rows in row_strips(len(flat), columns, x.device):
        kept = keep_mask(keys[rows], columns, rate, first_column)
        torch.mul(flat[rows] * kept, 1.0 / (1.0 - rate), out=result[rows])
    return result.view_as(x)


def _absorb(keys: Tensor | int, values: Tensor) -> Tensor:
    """Each key mixed with a value: the step of splitmix64 (Steele, Lea and Flood, 2014), in wrapping int64."""
    return mixed(keys + (values + 1) * signed(_WEYL))


def mixed(z: Tensor) -> Tensor:
    """Stafford's variant 13 of MurmurHash3's finalizer, as in splitmix64, on 64 bits without a sign."""
    z = (z ^ (z >> 30 & (1 << 34) - 1)) * signed(_MIX[0])
    z = (z ^ (z >> 27 & (1 << 37) - 1)) * signed(_MIX[1])
    return z ^ (z >> 31 & (1 << 33) - 1)


def _mix_int(z: int) -> int:
    z = (z ^ z >> 30) * _MIX[0] & _WORD
    z = (z ^ z >> 27) * _MIX[1] & _WORD
    return z ^ z >> 31


def signed(number: int) -> int:
    """The int64 with the lowest 64 bits of a number."""
    number &= _WORD
    return number - (1 << 64) if number >> 63 else number


def _signed32(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word
