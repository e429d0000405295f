"""What every block of a forward pass shares."""

from __future__ import annotations

from dataclasses import dataclass

from steel_megatron.model.cache import KVCache
from steel_megatron.ops.attention import Packing
from steel_megatron.ops.dropout import DropoutKey
from steel_megatron.ops.rope import Rotation


@dataclass(frozen=True)
class Context:
    """Positions as rotations (RoPE only), documents, dropout and cache of one micro-batch."""

    rotation: Rotation | None = None
    packing: Packing | None = None
    dropout: DropoutKey | None = None
    cache: KVCache | None = None
