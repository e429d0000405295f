"""Text from a model as training holds it: split over tensor- and pipeline-parallel ranks, on any layout.

Every new token takes a forward pass over the whole texts, without a cache, through the same executor as training: for a
few short texts between two steps. ``steel generate`` is the fast way from a checkpoint.

Shapes: B texts, S positions (those of the longest text with its new tokens, rounded up), V vocabulary, H hidden.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from steel_megatron.config import ConfigError
from steel_megatron.generate.run import check_prompts
from steel_megatron.generate.sampling import Sampler, SamplingSettings
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.collectives import all_gather, all_reduce
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.pipeline.executor import Executor, Hidden, Output, PassSettings
from steel_megatron.parallel.pipeline.schedules import build_schedule

ALIGNMENT = 16  # positions: matmuls in 8 bits want a multiple of it


@dataclass
class _Texts:
    """What the stages read: the tokens so far, zeros behind them, and how many there are of each text."""

    tokens_BS: Tensor
    lengths_B: Tensor


@dataclass
class _Stage:
    """A chunk of the model as the executor calls it; the last one gives the logits behind each text."""

    model: GPT

    def forward(self, hidden: Tensor | None, micro_batch: Any, settings: PassSettings) -> Output:
        """Hidden states (B, S, H) of this rank, on the last stage logits (B, V of this rank)."""
        texts: _Texts = micro_batch
        result = self.model(texts.tokens_BS if hidden is None else hidden)
        if self.model.head is None:
            return Output(result)
        rows = torch.arange(len(texts.lengths_B), device=result.device)
        return Output(result[rows, texts.lengths_B - 1])


def generate_in_training(
    chunks: Sequence[GPT],
    grid: Grid,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    settings: SamplingSettings,
    stop_ids: Collection[int] = (),
    seed: int = 0,
    longest: int | None = None,
) -> list[list[int]]:
    """Continues each prompt (token ids) until a token of ``stop_ids`` or ``max_new_tokens`` new ones.

    A collective call: every rank makes it with the same arguments, and all return the same. Weights, gradients and
    random states are left as they are. A text's tokens depend on (seed, its number) as in :func:`.run.generate`.

    Args:
        chunks: this rank's part of the model.
        longest: so many positions at most, prompt and new tokens together; unset: as many as the model allows.

    Raises:
        ConfigError: an empty prompt, an id outside the vocabulary, or more positions than there are.
    """
    config = chunks[0].config
    total = check_prompts(config, prompts, max_new_tokens) + max_new_tokens
    if longest is not None and total > longest:
        raise ConfigError(
            f"a prompt of {total - max_new_tokens} tokens and {max_new_tokens} new ones",
            rule=f"in training a text has at most {longest} positions, as a sample",
            fix=f"use at most {longest - total + max_new_tokens} new tokens, or a shorter prompt",
        )
    step = ALIGNMENT * grid.tp.size
    positions = -(-total // step) * step
    if config.position_embedding_type == "learned_absolute":
        positions = min(positions, config.max_position_embeddings)
    lengths = [len(prompt) for prompt in prompts]
    tokens_BS = torch.zeros((len(prompts), positions), dtype=torch.int64, device=grid.device)
    for row, prompt in enumerate(prompts):
        tokens_BS[row, : len(prompt)] = torch.tensor(prompt, device=grid.device)
    share = grid.tp.size if grid.sequence_parallel else 1
    hidden = Hidden((len(prompts), positions // share, config.hidden_size), next(chunks[0].parameters()).dtype)
    executor = Executor([_Stage(chunk) for chunk in chunks], grid)
    plan = build_schedule("forward", grid.pp.size, 1, len(chunks))
    sampler = Sampler(settings, seed, len(prompts))
    new: list[list[int]] = [[] for _ in prompts]
    running = set(range(len(prompts)))
    with ExitStack() as restored:
        for chunk in chunks:
            restored.callback(chunk.train, chunk.training)
            chunk.eval()
            restored.enter_context(chunk.linears.step())
        while running and max(map(len, new), default=0) < max_new_tokens:
            texts = _Texts(tokens_BS, torch.tensor(lengths, device=grid.device))
            outputs = executor.run(plan, iter([texts]), hidden)
            rows = [tokens_BS[row, :length] for row, length in enumerate(lengths)]
            next_B = _chosen(outputs, sampler, rows, grid, config.vocab_size or 0)
            for row in sorted(running):
                tokens_BS[row, lengths[row]] = next_B[row]
                lengths[row] += 1
                new[row].append(next_B[row])
                if next_B[row] in stop_ids:
                    running.discard(row)
    return new


def _chosen(outputs: list[Output], sampler: Sampler, rows: list[Tensor], grid: Grid, vocab_size: int) -> list[int]:
    """The next token of each text, chosen on the last stage, on every rank."""
    next_B = torch.zeros(len(rows), dtype=torch.int64, device=grid.device)
    if outputs:
        logits_BV = all_gather(outputs[0].result, grid.tp, dim=-1).wait()
        next_B = sampler(logits_BV[:, :vocab_size], rows)
    found: list[int] = all_reduce(next_B, grid.pp).wait().tolist()
    return found
