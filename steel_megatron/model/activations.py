"""What a forward pass keeps for its backward pass, tensor by tensor: the planner's figures and the table of the docs.

Counted for each token of the whole sequence on one tensor-parallel rank. H hidden, F inner channels, N query heads, K
key/value heads, D head size, V columns of the logits, all of this rank; S sequence length; Hs = H / R under sequence
parallel over R ranks, else H. Tests compare the list with what autograd really keeps, to the byte.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from steel_megatron.config import ModelConfig
from steel_megatron.model.recompute import Recompute

FP32 = 4  # bytes
INT64 = 8


@dataclass(frozen=True)
class Kept:
    """One tensor: elements per token in the type of the activations, and bytes per token of another type."""

    name: str
    elements: float = 0.0
    other_bytes: float = 0.0

    def bytes(self, width: int) -> float:
        """Per token, with activations of ``width`` bytes."""
        return self.elements * width + self.other_bytes


@dataclass(frozen=True)
class Sizes:
    """The letters of the module's docstring.

    ``share``: the part of the sequence between parallel regions. ``eight_bit``: the blocks' linear layers multiply in 8
    bits.
    """

    H: int
    F: int
    N: int
    K: int
    D: int
    V: int
    S: int
    share: float
    eight_bit: bool = False

    @classmethod
    def of(
        cls,
        model: ModelConfig,
        tensor_parallel: int = 1,
        sequence_parallel: bool = False,
        seq_length: int = 0,
        eight_bit: bool = False,
    ) -> Sizes:
        """Of one tensor-parallel rank."""
        return cls(
            H=model.hidden_size,
            F=model.ffn_hidden_size // tensor_parallel,
            N=model.num_attention_heads // tensor_parallel,
            K=max(model.query_groups // tensor_parallel, 1),
            D=model.head_dim,
            V=model.padded_vocab_size(tensor_parallel) // tensor_parallel,
            S=seq_length,
            share=1.0 / tensor_parallel if sequence_parallel else 1.0,
            eight_bit=eight_bit,
        )

    @property
    def Hs(self) -> float:  # noqa: N802 - the letter of the formulas
        return self.H * self.share


def total_bytes(kept: Sequence[Kept], width: int) -> float:
    """Per token."""
    return sum(tensor.bytes(width) for tensor in kept)


def block_kept(
    model: ModelConfig,
    sizes: Sizes,
    recompute: Recompute = Recompute(),  # noqa: B008 - frozen
) -> list[Kept]:
    """Of one block; of ``recompute`` only what is selective counts."""
    s = sizes
    # What a layer makes of its input in 8 bits is the layer's own, and is not made again.
    norms_again, activation_again = (again and not s.eight_bit for again in (recompute.norms, recompute.activation))
    kept = _norm("attention", model, s, again=norms_again)
    if recompute.attention:
        kept += [Kept("projected queries, keys, values", (s.N + 2 * s.K) * s.D)]
        kept += _linear_input("attention's output", s.N * s.D, s)
    else:
        kept += _core(model, s)
    kept += _dropout("attention's output", model, s)
    kept += [
        *_norm("MLP", model, s, again=norms_again),
        Kept("gate and up" if model.gated else "up", (2 if model.gated else 1) * s.F),
        *([] if activation_again else _linear_input("activation's output", s.F, s)),
        *_dropout("MLP's output", model, s),
    ]
    return kept


def micro_batch_kept(model: ModelConfig, reset_positions: bool) -> list[Kept]:
    """The micro-batch itself, and the angles where positions are not simply counted."""
    kept = [Kept("token ids and labels", other_bytes=2 * INT64), Kept("loss mask", other_bytes=1)]
    if reset_positions:
        kept.append(Kept("positions", other_bytes=INT64))
        if model.position_embedding_type == "rope":
            kept.append(Kept("cosines and sines", other_bytes=FP32 * int(model.head_dim * model.rotary_percent)))
    return kept


def embedding_kept(model: ModelConfig, sizes: Sizes, *, tensor_parallel: int = 1) -> list[Kept]:
    """Beside the micro-batch's own token ids."""
    kept = []
    if tensor_parallel > 1:
        kept.append(Kept("ids counted from this rank's first row", other_bytes=INT64))
    return kept + _dropout("embedding", model, sizes)


def head_kept(model: ModelConfig, sizes: Sizes, *, chunked: bool) -> list[Kept]:
    """Final norm, head and cross entropy. ``chunked``: the gradient is made in the forward pass, a chunk at a time."""
    *last, normed = _norm("head", model, dataclasses.replace(sizes, eight_bit=False))
    if chunked:
        # Every rank has it whole: it is summed when it leaves the parallel region.
        return [*last, Kept("gradient of the head's input", sizes.H)]
    return [*last, normed, Kept("logits", sizes.V), Kept("log of the sum of exp", other_bytes=FP32)]


def chunk_kept(
    model: ModelConfig,
    recompute: Recompute,
    sizes: Sizes,
    width: int,
    layers: Sequence[int],
) -> tuple[float, float]:
    """(bytes per token that the blocks of a chunk keep, those that their backward pass makes again at one time)."""
    block = total_bytes(block_kept(model, sizes, recompute), width)
    if recompute.granularity == "selective":
        made = total_bytes(_core(model, sizes), width) if recompute.attention else 0.0
        # What the MLP kept is free by then.
        return len(layers) * block, max(made - (2 if model.gated else 1) * sizes.F * width, 0.0)
    kept, largest = 0.0, 0.0
    for group, again in recompute.groups(layers):
        kept += sizes.Hs * width if again else len(group) * block
        # The input of the group is kept already.
        largest = max(largest, len(group) * block - sizes.Hs * width if again else 0.0)
    return kept, largest


def _core(model: ModelConfig, s: Sizes) -> list[Kept]:
    """Between the attention's projections."""
    kept = [Kept("projected queries, keys, values", (s.N + 2 * s.K) * s.D)]
    if model.qk_layernorm:
        kept += [Kept("norms of queries and keys, statistics", other_bytes=_statistics(model) * (s.N + s.K))]
        # Without these norms, RoPE is written over the projection.
        kept += [Kept("queries and keys, normalised and rotated", (s.N + s.K) * s.D)]
    kept += _linear_input("attention's output", s.N * s.D, s, read_by_another=True)
    if model.attention_dropout:
        # Written out: no kernel draws these masks.
        copies = 0 if s.N == s.K else 2 * s.N * s.D
        return [
            *kept,
            Kept("attention's probabilities, before and after dropout", s.N * s.S + copies, FP32 * s.N * s.S),
        ]
    return [*kept, Kept("attention's log of the sum of exp", other_bytes=FP32 * s.N)]


def _norm(name: str, model: ModelConfig, s: Sizes, again: bool = False) -> list[Kept]:
    return [
        Kept(f"input of the {name} norm", s.Hs),
        Kept(f"{name} norm, statistics", other_bytes=_statistics(model) * s.share),
        *([] if again else _linear_input(f"normalised input of the {name}", s.Hs, s)),
    ]


def _linear_input(name: str, elements: float, s: Sizes, *, read_by_another: bool = False) -> list[Kept]:
    """Of a linear layer of a block; ``read_by_another`` backward pass, which wants it in the type of activations."""
    if not s.eight_bit:
        return [Kept(name, elements)]
    return [Kept(name, elements)] * read_by_another + [Kept(f"{name}, in 8 bits", other_bytes=elements)]


def _statistics(model: ModelConfig) -> int:
    return FP32 * (2 if model.normalization == "LayerNorm" else 1)


def _dropout(name: str, model: ModelConfig, s: Sizes) -> list[Kept]:
    return (
        [Kept(f"dropout of the {name}, key of each row", other_bytes=INT64 * s.share)] if model.hidden_dropout else []
    )
