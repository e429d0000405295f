"""What a chunk of the model keeps from forward to backward pass: the blocks' own lists, added up.

Counted for each token of the whole sequence on one tensor-parallel rank. Tests compare the lists with what autograd
really keeps, to the byte.
"""

from __future__ import annotations

from collections.abc import Sequence

from steel_megatron.config import ModelConfig
from steel_megatron.model.block_cost import block_again, block_kept
from steel_megatron.model.cost import Sizes, total_bytes
from steel_megatron.model.recompute import Recompute


def chunk_kept(
    model: ModelConfig, recompute: Recompute, sizes: Sizes, width: int, layers: Sequence[int]
) -> tuple[float, float]:
    """(bytes per token that the blocks of a chunk keep, those that their backward pass makes again at one time)."""
    blocks = {layer: total_bytes(block_kept(model, layer, sizes, recompute), width) for layer in layers}
    if recompute.granularity == "selective":
        made = (block_again(model, layer, sizes, recompute, width) for layer in layers)
        return sum(blocks.values()), max(made, default=0.0)
    kept, largest = 0.0, 0.0
    for group, again in recompute.groups(layers):
        whole = sum(blocks[layer] for layer in group)
        kept += sizes.Hs * width if again else whole
        # The input of the group is kept already.
        largest = max(largest, whole - sizes.Hs * width if again else 0.0)
    return kept, largest
