"""How a dataset holds an id: in one of Megatron's types, or in three bytes, which Megatron does not read.

Ids of three bytes are for vocabularies of 65,500 to 16.7 M ids, where Megatron takes four: 1 T tokens are 3 TB, not 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steel_megatron.config import ConfigError

AUTO, UINT24 = "auto", "uint24"
TOKEN_TYPES = (AUTO, UINT24)
_THREE_BYTES = np.dtype("V3")


def best_dtype(vocab_size: int) -> str:
    """Megatron's choice of token type: two bytes below 65,500 ids, else four."""
    return "uint16" if vocab_size < 65500 else "int32"


def chosen_type(choice: str, vocab_size: int) -> str:
    """The token type of a dataset.

    Args:
        choice: one of ``TOKEN_TYPES``; ``auto`` is Megatron's.

    Raises:
        ConfigError: three bytes are not the right size.
    """
    best = best_dtype(vocab_size)
    if choice == UINT24 and (best == "uint16" or vocab_size > 1 << 24):
        raise ConfigError(
            f"--token-type {choice} for {vocab_size:,} ids",
            rule="three bytes are for vocabularies of 65,500 to 16,777,216 ids",
            fix=f"leave it out: {best} is taken",
        )
    return best if choice == AUTO else choice


def stored(token_type: str) -> np.dtype[Any]:
    """What an id is in the file."""
    return _THREE_BYTES if token_type == UINT24 else np.dtype(token_type)


def shown(token_type: str) -> np.dtype[Any]:
    """What an id is read as."""
    return np.dtype(np.int32) if token_type == UINT24 else np.dtype(token_type)


def to_stored(ids: NDArray[Any], token_type: str) -> NDArray[Any]:
    """Ids as they are in the file; they fit."""
    if token_type != UINT24:
        return ids.astype(token_type, copy=False)
    return np.ascontiguousarray(ids.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :3]).reshape(-1).view(_THREE_BYTES)


def from_stored(raw: NDArray[Any]) -> NDArray[Any]:
    """Ids as they are read."""
    if raw.dtype != _THREE_BYTES:
        return raw
    wide = np.zeros((len(raw), 4), np.uint8)
    wide[:, :3] = np.ascontiguousarray(raw).view(np.uint8).reshape(-1, 3)
    return wide.view("<i4").reshape(-1)


class ThreeByteIds:
    """The ids of a mapped file as an array of int32 whose stretches are made when they are asked for."""

    dtype = np.dtype(np.int32)

    def __init__(self, raw: NDArray[Any]) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return len(self._raw)

    def __getitem__(self, place: slice) -> NDArray[Any]:
        return from_stored(self._raw[place])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)
