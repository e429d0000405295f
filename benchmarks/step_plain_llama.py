"""A Llama in plain torch, without any trick: what torch.compile makes of it is a peer.

Shapes: B batch, S sequence, H hidden, N heads, K kv heads, D head size, F ffn, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from steel_megatron.config import ModelConfig


class PlainLlama(nn.Module):
    """RMSNorm, RoPE, grouped heads, SwiGLU; heads are normed where ``qk_layernorm`` says so."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert config.vocab_size is not None
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(PlainLayer(config) for _ in range(config.num_layers))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.norm_epsilon)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)
        if config.tied:
            self.head.weight = self.embedding.weight
        half = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        self.frequencies = 1.0 / config.rotary_base**half

    def hidden(self, tokens_BS: Tensor) -> Tensor:
        """(B, S, H), normed."""
        x_BSH = self.embedding(tokens_BS)
        angles = torch.outer(torch.arange(tokens_BS.shape[1], device=x_BSH.device).float(), self.frequencies)
        cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
        for layer in self.layers:
            x_BSH = layer(x_BSH, cosine, sine)
        return self.norm(x_BSH)

    def head_loss(self, x_BSH: Tensor, labels_BS: Tensor) -> Tensor:
        """Mean cross entropy in fp32."""
        return F.cross_entropy(self.head(x_BSH).float().flatten(0, 1), labels_BS.flatten())


class PlainLayer(nn.Module):
    """Attention and MLP, each after its norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.size = config.num_attention_heads, config.query_groups, config.head_dim
        hidden, ffn = config.hidden_size, config.ffn_hidden_size
        self.qkv = nn.Linear(hidden, (self.heads + 2 * self.kv_heads) * self.size, bias=False)
        self.output = nn.Linear(self.heads * self.size, hidden, bias=False)
        self.gate_up = nn.Linear(hidden, 2 * ffn, bias=False)
        self.down = nn.Linear(ffn, hidden, bias=False)
        self.attention_norm, self.mlp_norm = (nn.RMSNorm(hidden, eps=config.norm_epsilon) for _ in range(2))
        self.query_norm, self.key_norm = (
            nn.RMSNorm(self.size, eps=config.norm_epsilon) if config.qk_layernorm else nn.Identity() for _ in range(2)
        )

    def forward(self, x_BSH: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        counts = [self.heads, self.kv_heads, self.kv_heads]
        heads = self.qkv(self.attention_norm(x_BSH)).unflatten(-1, (-1, self.size))
        q_BSND, k_BSKD, v_BSKD = heads.split(counts, dim=2)
        q_BSND, k_BSKD = rotated(self.query_norm(q_BSND), cosine, sine), rotated(self.key_norm(k_BSKD), cosine, sine)
        q, k, v = (t.transpose(1, 2) for t in (q_BSND, k_BSKD, v_BSKD))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads)
        x_BSH = x_BSH + self.output(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.mlp_norm(x_BSH)).chunk(2, dim=-1)
        return x_BSH + self.down(F.silu(gate) * up)


def rotated(x_BSND: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Half-split RoPE in fp32."""
    first, second = x_BSND.float().chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(x_BSND.dtype)
