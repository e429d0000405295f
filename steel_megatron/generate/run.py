"""Text after text: the model's own next tokens, with a cache of keys and values.

Shapes: B rows, S longest prompt, V vocabulary without padding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.generate.sampling import Sampler, SamplingSettings
from steel_megatron.model.attention.cache import KVCache
from steel_megatron.model.gpt import GPT


def generate(
    model: GPT,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    settings: SamplingSettings,
    stop_ids: Collection[int] = (),
    seed: int = 0,
    on_token: Callable[[int, int], None] | None = None,
    use_cache: bool = True,
) -> list[list[int]]:
    """Continues each prompt until it ends in a token of ``stop_ids`` or has ``max_new_tokens`` new ones.

    Prompts of different lengths are padded at the left; padding is seen by nobody and counts for no position. Dropout
    is off. A row's tokens depend on (seed, its number) and not on how many rows there are, up to rounding.

    Args:
        prompts: token ids, at least one in each.
        settings: how a token is chosen.
        stop_ids: a row ends with such a token, which is part of the result.
        on_token: called with (row, token) for every new token as it comes.
        use_cache: False computes all earlier positions again for every token; for comparison.

    Returns:
        The new tokens of each row.

    Raises:
        ConfigError: an empty prompt, an id outside the vocabulary, or more positions than a model with learned
            positions has.
    """
    config = model.config
    longest = check_prompts(config, prompts, max_new_tokens)
    device = model.grid.device
    padding = [longest - len(prompt) for prompt in prompts]
    tokens_BS = torch.tensor(
        [[0] * pad + list(prompt) for pad, prompt in zip(padding, prompts, strict=True)], device=device
    )
    padding_B = torch.tensor(padding, device=device) if any(padding) else None

    def new_cache(capacity: int) -> KVCache:
        dtype = next(model.parameters()).dtype
        return KVCache(config, model.grid, batch=len(prompts), capacity=capacity, dtype=dtype, padding_B=padding_B)

    sampler = Sampler(settings, seed, len(prompts))
    stops = set(stop_ids)
    new: list[list[int]] = [[] for _ in prompts]
    running = set(range(len(prompts)))
    cache = new_cache(longest + max_new_tokens) if use_cache else None
    inputs_BS = tokens_BS
    with torch.inference_mode():
        for _ in range(max_new_tokens):
            logits_BV = _next_logits(model, inputs_BS, cache or new_cache(tokens_BS.shape[1]))
            rows = [row[pad:] for row, pad in zip(tokens_BS, padding, strict=True)]
            next_B = sampler(logits_BV, rows)
            for row, token in enumerate(next_B.tolist()):
                if row in running:
                    new[row].append(token)
                    if on_token is not None:
                        on_token(row, token)
                    if token in stops:
                        running.discard(row)
            if not running:
                break
            tokens_BS = torch.cat([tokens_BS, next_B[:, None]], dim=1)
            inputs_BS = next_B[:, None] if use_cache else tokens_BS
    return new


def _next_logits(model: GPT, inputs_BS: Tensor, cache: KVCache) -> Tensor:
    return model(inputs_BS, cache=cache, last_only=True)[:, -1]


def check_prompts(config: ModelConfig, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> int:
    """Refuses what cannot be continued; returns the length of the longest prompt."""
    assert config.vocab_size is not None
    if max_new_tokens < 1:
        raise ConfigError(f"--max-new-tokens {max_new_tokens}", rule="it is at least 1")
    for prompt in prompts:
        if not prompt:
            raise ConfigError("an empty prompt", rule="a prompt has at least one token", fix="give --prompt some text")
        wrong = [token for token in prompt if not 0 <= token < config.vocab_size]
        if wrong:
            raise ConfigError(
                f"token id {wrong[0]} in a prompt",
                rule=f"the model's vocabulary has the ids 0 to {config.vocab_size - 1}",
                fix="use the tokenizer that the model was trained with",
            )
    longest = max((len(prompt) for prompt in prompts), default=0)
    limit = config.max_position_embeddings
    if config.position_embedding_type == "learned_absolute" and longest + max_new_tokens > limit:
        raise ConfigError(
            f"a prompt of {longest} tokens and --max-new-tokens {max_new_tokens}",
            rule=f"the model has learned {limit} positions and no more",
            fix=f"use at most {limit - longest} new tokens" if longest < limit else "shorten the prompt",
        )
    return longest
