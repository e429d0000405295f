"""What a block takes, whatever its kinds of attention and of feed-forward: two norms and two dropouts around them."""

from __future__ import annotations

from collections import Counter

from steel_megatron.config import ModelConfig
from steel_megatron.model.attention.kinds import attention_of
from steel_megatron.model.cost import Flops, Kept, Sizes, dropout_kept, norm_kept, norm_parameters, total_bytes
from steel_megatron.model.ffn.kinds import feed_forward_of
from steel_megatron.model.recompute import Recompute


def block_parameters(model: ModelConfig, layer: int) -> Counter[str]:
    """Elements by module: attention, mlp, norms."""
    norms = Counter(norms=2 * norm_parameters(model, model.hidden_size))
    return attention_of(model, layer).parameters(model) + feed_forward_of(model, layer).parameters(model) + norms


def block_flops(model: ModelConfig, layer: int, seq_length: int) -> Flops:
    """Per token."""
    return attention_of(model, layer).flops(model, seq_length) + feed_forward_of(model, layer).flops(model, seq_length)


def block_kept(
    model: ModelConfig,
    layer: int,
    sizes: Sizes,
    recompute: Recompute = Recompute(),  # noqa: B008 - frozen
) -> list[Kept]:
    """From forward to backward pass; of ``recompute`` only what is selective counts."""
    # What a layer makes of its input in 8 bits is the layer's own, and is not made again.
    norms_again, activation_again = (again and not sizes.eight_bit for again in (recompute.norms, recompute.activation))
    return [
        *norm_kept("attention", model, sizes, again=norms_again),
        *attention_of(model, layer).kept(model, sizes, again=recompute.attention),
        *dropout_kept("attention's output", model, sizes),
        *norm_kept("MLP", model, sizes, again=norms_again),
        *feed_forward_of(model, layer).kept(model, sizes, again=activation_again),
        *dropout_kept("MLP's output", model, sizes),
    ]


def block_again(model: ModelConfig, layer: int, sizes: Sizes, recompute: Recompute, width: int) -> float:
    """Bytes per token that selective recomputation makes again at one time, beside what is still kept."""
    if not recompute.attention:
        return 0.0
    made = total_bytes(attention_of(model, layer).core_kept(model, sizes), width)
    # What the feed-forward part kept is free by then.
    return max(made - feed_forward_of(model, layer).projected(model, sizes) * width, 0.0)
