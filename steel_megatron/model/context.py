"""What every block of a forward pass shares."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from steel_megatron.model.attention.cache import KVCache
from steel_megatron.ops.attention import Packing
from steel_megatron.ops.dropout import DropoutKey
from steel_megatron.ops.rope import Rotation


@dataclass(frozen=True)
class Context:
    """Positions as rotations (RoPE only), documents, dropout and cache of one micro-batch.

    ``region`` is entered around blocks; see :class:`~steel_megatron.parallel.tensor.kinds.Linears`.
    """

    rotation: Rotation | None = None
    packing: Packing | None = None
    dropout: DropoutKey | None = None
    cache: KVCache | None = None
    region: Callable[[], AbstractContextManager[None]] = nullcontext
