"""The words in which layers tell what they take, from the configuration alone: no module is built and no torch loaded.

Each kind of attention and of feed-forward (``attention/kinds.py``, ``ffn/kinds.py``), the block around them
(``block_cost.py``) and the ends (``ends_cost.py``) tell their parameters, FLOPs, what forward passes keep for backward
passes, temporaries and traffic; flops.py and activations.py add up over layers,
tools/fake_cuda the traffic.

H hidden, F inner channels, N query heads, K key/value heads, D head size, V columns of the logits, all of one
tensor-parallel rank; S sequence length; Hs = H / R under sequence parallel over R ranks, else H.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steel_megatron.config import ModelConfig

FP32 = 4  # bytes
INT64 = 8

# Kinds of traffic between matmuls.
HEADS = "qk-norm + RoPE"
ACTIVATION = "activation"
LINEAR = "linear layers"


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
    bits. ``by_strips``: windows of attention are looked through strip by strip, whose statistics are not kept.
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
    by_strips: bool = False

    @classmethod
    def of(
        cls,
        model: ModelConfig,
        tensor_parallel: int = 1,
        sequence_parallel: bool = False,
        seq_length: int = 0,
        eight_bit: bool = False,
        by_strips: bool = False,
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
            by_strips=by_strips,
        )

    @property
    def Hs(self) -> float:  # noqa: N802 - the letter of the formulas
        return self.H * self.share


@dataclass(frozen=True)
class Passes:
    """How a micro-batch runs through a layer on one rank.

    Args:
        tokens: of the micro-batch, whole sequences.
        width: bytes of an activation.
        tensor_parallel: ranks that share a layer.
        gradient_bytes: (tokens, rows, features) → what a weight's gradient takes before it is in its buffer.
    """

    tokens: int
    width: int
    tensor_parallel: int
    gradient_bytes: Callable[[int, int, int], int]


@dataclass(frozen=True)
class Flops:
    """FLOPs per token that the model's definition requires, forward and backward; recomputation is never counted.

    ``attention_all_keys`` counts for each query every key of the sequence, or as many as a window has;
    ``attention_causal`` only those that it sees.
    """

    attention_projections: float = 0.0
    mlp: float = 0.0
    head: float = 0.0
    attention_all_keys: float = 0.0
    attention_causal: float = 0.0

    def __add__(self, other: Flops) -> Flops:
        return Flops(
            self.attention_projections + other.attention_projections,
            self.mlp + other.mlp,
            self.head + other.head,
            self.attention_all_keys + other.attention_all_keys,
            self.attention_causal + other.attention_causal,
        )

    @property
    def total(self) -> float:
        """With ``attention_all_keys``."""
        return self.attention_projections + self.mlp + self.head + self.attention_all_keys

    @property
    def total_causal(self) -> float:
        """With only the keys that a token attends to counted."""
        return self.attention_projections + self.mlp + self.head + self.attention_causal


def total_bytes(kept: Sequence[Kept], width: int) -> float:
    """Per token."""
    return sum(tensor.bytes(width) for tensor in kept)


def linear_input(name: str, elements: float, s: Sizes, *, read_by_another: bool = False) -> list[Kept]:
    """Of a linear layer of a block; ``read_by_another`` backward pass, which wants it in the type of activations."""
    if not s.eight_bit:
        return [Kept(name, elements)]
    return [Kept(name, elements)] * read_by_another + [Kept(f"{name}, in 8 bits", other_bytes=elements)]


def norm_kept(name: str, model: ModelConfig, s: Sizes, *, again: bool = False) -> list[Kept]:
    """Of a norm of the residual stream; ``again``: its output is made again."""
    return [
        Kept(f"input of the {name} norm", s.Hs),
        Kept(f"{name} norm, statistics", other_bytes=norm_statistics(model) * s.share),
        *([] if again else linear_input(f"normalised input of the {name}", s.Hs, s)),
    ]


def norm_statistics(model: ModelConfig) -> int:
    """Bytes that a norm keeps of a row."""
    return FP32 * (2 if model.normalization == "LayerNorm" else 1)


def norm_parameters(model: ModelConfig, size: int) -> int:
    """Of a norm over so many channels."""
    return size * (2 if model.normalization == "LayerNorm" else 1)


def dropout_kept(name: str, model: ModelConfig, s: Sizes) -> list[Kept]:
    """Of dropout on the residual stream."""
    return (
        [Kept(f"dropout of the {name}, key of each row", other_bytes=INT64 * s.share)] if model.hidden_dropout else []
    )
