"""The GPT-style model, or the part of it that one pipeline stage holds.

Shapes: B batch, S sequence, H hidden, V this rank's columns of the padded vocabulary, T = B·S tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from steel_megatron.config import ModelConfig
from steel_megatron.model.attention.cache import KVCache
from steel_megatron.model.block import Block, joined, run_blocks, through_blocks
from steel_megatron.model.context import Context
from steel_megatron.model.embedding import Embedding, Head
from steel_megatron.model.norm import Norm
from steel_megatron.model.recompute import Recompute
from steel_megatron.ops.attention import Packing
from steel_megatron.ops.dropout import DropoutKey
from steel_megatron.ops.rope import RopeSettings, Rotation, rotation
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.init import initialize_parameters
from steel_megatron.parallel.parameter import parameters_with_spec
from steel_megatron.parallel.tensor.cross_entropy import vocab_parallel_cross_entropy
from steel_megatron.parallel.tensor.kinds import Linears
from steel_megatron.parallel.tensor.linear_cross_entropy import linear_cross_entropy, needs_strips


class GPT(nn.Module):
    """Embedding, blocks, final norm and head.

    Args:
        config: the shape; ``vocab_size`` is set.
        grid: the rank grid; weights are this rank's tensor-parallel share.
        dtype: of weights and activations.
        device: where the weights are; the grid's when None ("meta": shapes only).
        layers: numbers of the blocks of this stage; all when None.
        first: this stage has the embedding and takes token ids; else it takes hidden states.
        last: this stage has the final norm and the head; else it returns hidden states.
        seed: of the initial weights, which depend on nothing else; None leaves them uninitialised.
        recompute: what the backward pass computes again.
        linears: how the blocks' linear layers are computed; an object of this model alone. As they are when None.
    """

    def __init__(
        self,
        config: ModelConfig,
        grid: Grid,
        *,
        dtype: torch.dtype,
        device: torch.device | str | None = None,
        layers: range | None = None,
        first: bool = True,
        last: bool = True,
        seed: int | None = None,
        recompute: Recompute = Recompute(),  # noqa: B008 - frozen
        linears: Linears | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.grid = grid
        self.recompute = recompute
        self.rope = RopeSettings.from_config(config) if config.position_embedding_type == "rope" else None
        device = grid.device if device is None else device
        self.embedding = Embedding(config, grid, dtype=dtype, device=device) if first else None
        self.blocks = nn.ModuleList(
            Block(config, i, grid, dtype=dtype, device=device, recompute=recompute)
            for i in (range(config.num_layers) if layers is None else layers)
        )
        self.linears = linears or Linears()
        self.linears.install(self.blocks)
        self.final_norm: Norm | None = None
        self.head: Head | None = None
        if last:
            self.final_norm = Norm(
                config.hidden_size,
                config,
                name="final_norm",
                grid=grid,
                partial=grid.sequence_parallel,
                dtype=dtype,
                device=device,
            )
            self.head = Head(config, grid, embedding=self.embedding, dtype=dtype, device=device)
        if seed is not None:
            initialize_parameters(parameters_with_spec([self]), seed)

    def forward(
        self,
        inputs: Tensor,
        positions_BS: Tensor | None = None,
        *,
        packing: Packing | None = None,
        dropout: DropoutKey | None = None,
        cache: KVCache | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Logits (B, S, V), or hidden states (B, S, H) of a stage that is not the last.

        Without tensor parallel the columns of the vocabulary's padding are cut off.

        Args:
            inputs: token ids (B, S); hidden states (B, S, H) on a stage that is not the first.
            positions_BS: int64; from 0 on (after the cache's) when None.
            packing: documents that attend within themselves.
            dropout: None: no dropout (evaluation).
            cache: keys and values of earlier tokens; moved on by S.
            last_only: logits of the last position only, (B, 1, V).
        """
        if cache is not None and positions_BS is None:
            positions_BS = cache.positions(inputs.shape[1])
        hidden_BSH = self._hidden(inputs, positions_BS, packing, dropout, cache)
        if cache is not None:
            cache.length += inputs.shape[1]
        if self.head is None:
            return hidden_BSH
        logits_BSV = self.head(hidden_BSH[:, -1:] if last_only else hidden_BSH)
        return logits_BSV[..., : self.config.vocab_size] if self.grid.tp.size == 1 else logits_BSV

    def loss(
        self,
        inputs: Tensor,
        labels_BS: Tensor,
        loss_mask_BS: Tensor,
        positions_BS: Tensor | None = None,
        *,
        packing: Packing | None = None,
        dropout: DropoutKey | None = None,
        loss_gradient: float | None = None,
        z_loss: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy and z-loss SUMMED over the mask's tokens; the mean is the global batch's to take.

        Args:
            loss_gradient: what the one backward pass of this loss will start from. If given, the logits of a large
                micro-batch are never held at once: see :func:`linear_cross_entropy`.
            z_loss: coefficient of the squared logarithm of the partition function.

        Returns:
            Their sum, an fp32 scalar; and each by itself for every sample, (2, B), fp32, without a gradient.
        """
        assert self.head is not None, "only the last stage has a loss"
        assert self.config.vocab_size is not None
        hidden_BSH = self._hidden(inputs, positions_BS, packing, dropout, None)
        weight_VH, labels_T, mask_T = self.head.weight, labels_BS.flatten(), loss_mask_BS.flatten()
        vocab_size = self.config.vocab_size
        if loss_gradient is not None and needs_strips(weight_VH, len(labels_T)):
            total, *losses_2T = linear_cross_entropy(
                hidden_BSH,
                weight_VH,
                labels_T,
                mask_T,
                self.grid,
                vocab_size=vocab_size,
                loss_gradient=loss_gradient,
                z_loss=z_loss,
            )
        else:
            logits_TV = self.head(hidden_BSH).flatten(0, 1)
            both = vocab_parallel_cross_entropy(
                logits_TV, labels_T, self.grid, vocab_size=vocab_size, overwrite_logits=True, z_loss=z_loss
            )
            losses_2T = [losses_T * mask_T for losses_T in both]
            total = losses_2T[0].sum() + losses_2T[1].sum()
        return total, torch.stack(losses_2T).detach().view(2, *loss_mask_BS.shape).sum(2)

    def _hidden(
        self,
        inputs: Tensor,
        positions_BS: Tensor | None,
        packing: Packing | None,
        dropout: DropoutKey | None,
        cache: KVCache | None,
    ) -> Tensor:
        x_BSH = inputs if self.embedding is None else self.embedding(inputs, positions_BS, dropout)
        context = Context(self._rotation(inputs, positions_BS), packing, dropout, cache, self.linears.region)
        branch_BSH: Tensor | None = None  # of the last block, which the final norm adds
        for blocks, again in self.recompute.groups(list(self.blocks)):
            x_BSH = joined(x_BSH, branch_BSH)
            if again and torch.is_grad_enabled():
                x_BSH = checkpoint(
                    through_blocks, blocks, x_BSH, context, use_reentrant=False, preserve_rng_state=False
                )
                branch_BSH = None
            else:
                x_BSH, branch_BSH = run_blocks(blocks, x_BSH, context)
        if self.final_norm is None:
            return joined(x_BSH, branch_BSH)
        return self.final_norm.after(x_BSH, branch_BSH)[0]

    def _rotation(self, inputs: Tensor, positions_BS: Tensor | None) -> Rotation | None:
        if self.rope is None:
            return None
        length = inputs.shape[1]
        if self.embedding is None and self.grid.sequence_parallel:
            length *= self.grid.tp.size
        return rotation(self.rope, length if positions_BS is None else positions_BS, inputs.device)
