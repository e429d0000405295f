"""Choosing the next token from logits.

The filters come in the order of ``transformers``: repetition penalty, temperature, top-k, top-p. Shapes: B rows,
V vocabulary without padding, T tokens of a row so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steel_megatron.config.ranges import POSITIVE, at_least, check_range, share


@dataclass(frozen=True)
class SamplingSettings:
    """How the next token is chosen.

    ``greedy``: the likeliest token. ``temperature`` divides the logits. ``top_k`` keeps the k likeliest tokens
    (0: all), ``top_p`` the fewest likeliest tokens whose probabilities reach p (1: all). ``repetition_penalty`` divides
    the positive logits of tokens that stand in the row already and multiplies the negative ones (Keskar et al., 2019).

    Raises:
        ConfigError: a value outside its range.
    """

    greedy: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        check_range(f"--temperature {self.temperature}", self.temperature, POSITIVE, "--greedy is the likeliest token")
        check_range(f"--top-k {self.top_k}", self.top_k, at_least(0, zero="all"))
        check_range(f"--top-p {self.top_p}", self.top_p, share(zero=False))
        check_range(f"--repetition-penalty {self.repetition_penalty}", self.repetition_penalty, POSITIVE)


def filter_logits(logits_BV: Tensor, settings: SamplingSettings, tokens: Sequence[Tensor] | None = None) -> Tensor:
    """Logits whose softmax is what is sampled from; tokens that are cut get -inf. fp32, a new tensor.

    ``tokens`` holds the tokens (T,) of each row so far, for the repetition penalty.
    """
    logits_BV = logits_BV.float().clone()
    if settings.repetition_penalty != 1.0:
        assert tokens is not None, "the repetition penalty needs the tokens so far"
        for row_V, tokens_T in zip(logits_BV, tokens, strict=True):
            seen = tokens_T.unique()
            values = row_V[seen]
            penalty = settings.repetition_penalty
            row_V[seen] = torch.where(values < 0, values * penalty, values / penalty)
    if settings.greedy:
        return logits_BV
    logits_BV /= settings.temperature
    if 0 < settings.top_k < logits_BV.shape[-1]:
        smallest_kept = logits_BV.topk(settings.top_k, dim=-1).values[:, -1:]
        logits_BV.masked_fill_(logits_BV < smallest_kept, float("-inf"))
    if settings.top_p < 1.0:
        ascending, order = logits_BV.sort(dim=-1)
        cut = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1.0 - settings.top_p
        cut[:, -1] = False
        logits_BV.masked_fill_(torch.zeros_like(cut).scatter_(-1, order, cut), float("-inf"))
    return logits_BV


class Sampler:
    """Draws tokens, each row from its own random stream.

    The stream of row b is a function of (seed, b), and one number of it is used per token: a row's text does not depend
    on the other rows, nor the numbers on the device.
    """

    def __init__(self, settings: SamplingSettings, seed: int, rows: int) -> None:
        self.settings = settings
        self._generators = [torch.Generator().manual_seed(_row_seed(seed, row)) for row in range(rows)]

    def __call__(self, logits_BV: Tensor, tokens: Sequence[Tensor] | None = None) -> Tensor:
        """The next token of each row, int64 (B,) on the logits' device."""
        logits_BV = filter_logits(logits_BV, self.settings, tokens)
        if self.settings.greedy:
            return logits_BV.argmax(dim=-1)
        draws = [torch.rand(1, generator=generator, dtype=torch.float64) for generator in self._generators]
        cumulative_BV = logits_BV.softmax(dim=-1).double().cumsum(dim=-1)
        # The first token whose cumulative probability is above the draw: one without probability is never it.
        total_B1 = cumulative_BV[:, -1:]
        below_B1 = torch.nextafter(total_B1, torch.zeros_like(total_B1))
        points_B1 = torch.minimum(torch.cat(draws).to(total_B1.device)[:, None] * total_B1, below_B1)
        return torch.searchsorted(cumulative_BV, points_B1, right=True).squeeze(-1)


def _row_seed(seed: int, row: int) -> int:
    return (seed * 0x9E3779B97F4A7C15 + row * 0xBF58476D1CE4E5B9 + 1) % 2**63
