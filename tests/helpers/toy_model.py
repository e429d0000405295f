"""A model of a few hundred weights made of every tensor-parallel layer, for tests below the real model.

Shapes: B batch, S sequence, H hidden, F ffn, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.init import initialize_parameters
from steel_megatron.parallel.parameter import (
    DATA,
    Init,
    ParamSpec,
    Piece,
    TensorSlice,
    attach_spec,
    parameters_with_spec,
    slices_of,
)
from steel_megatron.parallel.tensor.cross_entropy import vocab_parallel_cross_entropy
from steel_megatron.parallel.tensor.layers import ColumnParallelLinear, Out, RowParallelLinear
from steel_megatron.parallel.tensor.products import column_linear
from steel_megatron.parallel.tensor.vocab import VocabParallelEmbedding

HIDDEN, HEAD, HEADS, KV_HEADS, VOCAB = 12, 6, 4, 2, 50


class Scale(nn.Module):
    """A norm's kind of parameter: replicated over tp, fed with a slice of the sequence under sequence parallel."""

    def __init__(self, name: str, grid: Grid, dtype: torch.dtype) -> None:
        super().__init__()
        piece = Piece(name, (HIDDEN,), (HIDDEN,), (0,), Init("ones"))
        axes = (*DATA, "tp") if grid.sequence_parallel else DATA
        spec = ParamSpec((piece,), decay=False, summed_over=axes)
        self.weight = attach_spec(nn.Parameter(torch.empty(HIDDEN, dtype=dtype)), spec)

    def forward(self, x_BSH: Tensor) -> Tensor:
        return torch.nn.functional.rms_norm(x_BSH, (HIDDEN,)) * self.weight


class ToyModel(nn.Module):
    """Embedding, one attention-like layer with shared key heads, and a head."""

    def __init__(self, grid: Grid, *, tied: bool = False, dtype: torch.dtype = torch.float32, seed: int = 1) -> None:
        super().__init__()
        self.grid = grid
        padded = 64 * grid.tp.size
        init = Init("normal", 0.3)
        self.embedding = VocabParallelEmbedding(
            VOCAB, padded, HIDDEN, name="embedding", grid=grid, dtype=dtype, init=init, tied="vocab" if tied else None
        )
        self.norm = Scale("norm.weight", grid, dtype)
        outs = [
            Out("attention.query", HEADS * HEAD, HEAD, init),
            Out("attention.key", KV_HEADS * HEAD, HEAD, init),
        ]
        self.qk = ColumnParallelLinear(HIDDEN, outs, bias=True, grid=grid, dtype=dtype)
        self.output = RowParallelLinear(
            HEADS * HEAD, HIDDEN, name="attention.output", bias=True, grid=grid, dtype=dtype, unit=HEAD, init=init
        )
        self.head: ColumnParallelLinear | None = None
        if not tied:
            head = Out("head", padded, init=init, rows=VOCAB)
            self.head = ColumnParallelLinear(HIDDEN, [head], bias=False, grid=grid, dtype=dtype)
        initialize_parameters(parameters_with_spec([self]), seed)

    def loss(self, tokens_BS: Tensor, labels_BS: Tensor) -> Tensor:
        """Sum over tokens, fp32."""
        x_BSH = self.embedding(tokens_BS)
        query, key = self.qk(self.norm(x_BSH)).split(self.qk.sizes, dim=-1)
        query = query.unflatten(-1, (-1, HEAD))
        key = key.unflatten(-1, (-1, HEAD))
        mixed = query * key.repeat_interleave(query.shape[2] // key.shape[2], dim=2).tanh()
        x_BSH = x_BSH + self.output(mixed.flatten(2))
        weight = self.embedding.weight if self.head is None else self.head.weight
        logits_BSV = column_linear(x_BSH, weight, None, self.grid)
        losses_T, _ = vocab_parallel_cross_entropy(
            logits_BSV.flatten(0, 1), labels_BS.flatten(), self.grid, vocab_size=VOCAB
        )
        return losses_T.sum()


def toy_batch(samples: int, length: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Tokens and labels (B, S)."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, VOCAB, (samples, length + 1), generator=generator)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def whole_gradients(model: nn.Module) -> dict[str, Tensor]:
    """This rank's part of every gradient in a tensor of the whole's shape (zeros elsewhere), by canonical name."""
    return whole_tensors(model, "main_grad")


def whole_tensors(model: nn.Module, attribute: str | None = None) -> dict[str, Tensor]:
    """Like :func:`whole_gradients` for the parameters or an attribute of them."""
    found: dict[str, Tensor] = {}
    for parameter in parameters_with_spec([model]):
        data = parameter.detach() if attribute is None else getattr(parameter, attribute)
        for piece, block in slices_of(parameter, data):
            whole = torch.zeros(piece.global_shape)
            whole[tuple(slice(o, o + n) for o, n in zip(piece.offset, piece.shape, strict=True))] = block.tensor.float()
            found[piece.name] = whole if piece.rows is None else whole[: piece.rows]
    return found


def assert_blocks_equal(
    blocks: Iterable[tuple[Piece, TensorSlice]], whole: dict[str, Tensor], **tolerance: float
) -> int:
    """Compares blocks with the same places of whole tensors; padding rows must be 0. Returns the elements compared."""
    elements = 0
    for piece, block in blocks:
        expected = torch.zeros(piece.global_shape)
        expected[: len(whole[piece.name])] = whole[piece.name]
        place = tuple(slice(o, o + n) for o, n in zip(block.offset, block.tensor.shape, strict=True))
        torch.testing.assert_close(
            block.tensor.float(), expected[place], msg=lambda text, name=piece.name: f"{name}: {text}", **tolerance
        )
        elements += block.tensor.numel()
    return elements
