"""Multi-head, grouped-query or multi-query attention.

Shapes: B batch, S sequence, H hidden, N query heads and K key/value heads of this rank, D head size, C = (N + 2K) D.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from steel_megatron.config import ModelConfig
from steel_megatron.model.context import Context
from steel_megatron.model.norm import Norm
from steel_megatron.model.pieces import Pieces
from steel_megatron.ops.attention import AttentionDropout, attention, cached_attention
from steel_megatron.ops.qk_norm_rope import qk_norm_rope, split_heads
from steel_megatron.ops.rope import Rotation, rotate, rotate_heads_
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import Init
from steel_megatron.parallel.tensor.layers import ColumnParallelLinear, Out, RowParallelLinear
from steel_megatron.parallel.tensor.weight_grad import await_parameter


class Attention(nn.Module):
    """Projections, RoPE and causal attention.

    Args:
        recompute: do not keep the core's activations, compute them again.
        window: a token sees itself and those before it, so many in all; None: all of its past.
    """

    def __init__(
        self,
        config: ModelConfig,
        layer: int,
        grid: Grid,
        *,
        dtype: torch.dtype,
        device: torch.device | str | None,
        recompute: bool,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.layer = layer
        self.window = window
        self.recompute = recompute
        self.pieces: Pieces | None = None
        self.head_dim = config.head_dim
        self.dropout_rate = config.attention_dropout
        self.first_head = grid.tp.rank * (config.num_attention_heads // grid.tp.size)
        stem = f"blocks.{layer}.attention"
        heads = {"query": config.num_attention_heads, "key": config.query_groups, "value": config.query_groups}
        outs = [
            Out(
                f"{stem}.{what}",
                count * self.head_dim,
                unit=self.head_dim,
                init=Init(std=config.init_method_std),
            )
            for what, count in heads.items()
        ]
        self.query_key_value = ColumnParallelLinear(
            config.hidden_size,
            outs,
            bias=config.add_qkv_bias or config.add_bias_linear,
            grid=grid,
            dtype=dtype,
            device=device,
        )
        self.output = RowParallelLinear(
            config.num_attention_heads * self.head_dim,
            config.hidden_size,
            name=f"{stem}.output",
            unit=self.head_dim,
            bias=config.add_bias_linear,
            grid=grid,
            dtype=dtype,
            device=device,
            init=output_init(config),
        )
        self.query_norm: Norm | None = None
        self.key_norm: Norm | None = None
        if config.qk_layernorm:
            self.query_norm, self.key_norm = (
                Norm(
                    self.head_dim,
                    config,
                    name=f"{stem}.{what}_norm",
                    grid=grid,
                    partial=True,
                    dtype=dtype,
                    device=device,
                )
                for what in ("query", "key")
            )

    def forward(self, x_BSH: Tensor, context: Context) -> Tensor:
        """(B, S, H) → (B, S, H), not yet added to the residual stream."""
        qkv_BSC, rotation = self.query_key_value(x_BSH), context.rotation
        run: Callable[..., Tensor] = self.core
        inputs: tuple[Tensor, ...] = (qkv_BSC,)
        if rotation is not None and self.query_norm is None and self.pieces is None:
            # In place, so it must happen once: outside what is computed again.
            inputs = rotate_heads_(qkv_BSC, rotation, self.query_key_value.sizes, self.head_dim)
            run = self.attend
        if self.recompute and torch.is_grad_enabled():
            y_BSND = checkpoint(run, *inputs, context, use_reentrant=False, preserve_rng_state=False)
        else:
            y_BSND = run(*inputs, context)
        return self.output(y_BSND.flatten(-2))

    def core(self, qkv_BSC: Tensor, context: Context) -> Tensor:
        """Everything between the projections, without weights but the norms' of queries and keys."""
        return self.attend(*self.heads(qkv_BSC, context.rotation), context)

    def attend(self, q_BSND: Tensor, k_BSKD: Tensor, v_BSKD: Tensor, context: Context) -> Tensor:
        """Attention of heads that are ready, over the cache if there is one."""
        if context.cache is not None:
            k_BPKD, v_BPKD = context.cache.extend(self.layer, k_BSKD, v_BSKD)
            padding_B = context.cache.padding_of(k_BPKD.shape[1], q_BSND.shape[1])
            return cached_attention(q_BSND, k_BPKD, v_BPKD, padding_B, self.window)
        dropout = None
        if self.dropout_rate and context.dropout is not None:
            dropout = AttentionDropout(self.dropout_rate, context.dropout, self.layer, self.first_head)
        return attention(q_BSND, k_BSKD, v_BSKD, context.packing, dropout, self.window)

    def heads(self, qkv_BSC: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values out of the projection, normalised and rotated where the model does so."""
        sizes, norms = self.query_key_value.sizes, None
        if self.query_norm is not None and self.key_norm is not None:
            norms = self.query_norm, self.key_norm
        if self.pieces is not None:
            return self.pieces.heads(qkv_BSC, sizes, self.head_dim, rotation, norms)
        queries = sizes[0] // self.head_dim
        if norms is not None and not norms[0].layer_norm:
            weights = norms[0].weight, norms[1].weight
            for weight in weights:
                await_parameter(weight)  # the module's own hook is not called
            return qk_norm_rope(qkv_BSC, *weights, norms[0].epsilon, rotation, queries)
        q_BSND, k_BSKD, v_BSKD = split_heads(qkv_BSC, queries, self.head_dim)
        if norms is not None:
            q_BSND, k_BSKD = norms[0](q_BSND)[0], norms[1](k_BSKD)[0]
        if rotation is not None:
            q_BSND, k_BSKD = rotate(q_BSND, rotation), rotate(k_BSKD, rotation)
        return q_BSND, k_BSKD, v_BSKD


def output_init(config: ModelConfig) -> Init:
    """Of the two projections that add to the residual stream: narrower with depth (GPT-2's rule)."""
    scale = math.sqrt(2 * config.num_layers) if config.depth_scaled_init else 1.0
    return Init(std=config.init_method_std / scale)
