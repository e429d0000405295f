"""The loss of one micro-batch."""

from __future__ import annotations

from torch import Tensor

from steel_megatron.dataset.batches import Batch
from steel_megatron.model.gpt import GPT
from steel_megatron.ops.attention import Packing
from steel_megatron.ops.dropout import DropoutKey


def micro_batch_loss(model: GPT, batch: Batch, seed: int) -> Tensor:
    """fp32 scalar: the loss summed over the unmasked tokens of the micro-batch (not their mean).

    Dropout depends on the seed and on each sample's number in the run, not on how samples are batched.
    """
    device = batch.tokens_BS.device
    packing = None if batch.lengths is None else Packing.from_lengths(batch.lengths, device)
    dropout = DropoutKey(seed, batch.sample_ids_B) if model.training else None
    return model.loss(
        batch.tokens_BS, batch.labels_BS, batch.loss_mask_BS, batch.positions_BS, packing=packing, dropout=dropout
    )
