"""The run's tokenizer, and how large the model's vocabulary must be."""

from __future__ import annotations

from steel_megatron.config import ConfigError, DataConfig, RunConfig
from steel_megatron.tokenizer.base import Tokenizer
from steel_megatron.tokenizer.build import build_tokenizer


def run_tokenizer(config: RunConfig) -> Tokenizer | None:
    """The tokenizer that the configuration names; None when it names none (the data's manifests then tell).

    Raises:
        ConfigError: the tokenizer has more ids than ``--vocab-size`` says.
    """
    data: DataConfig = config.data
    if data.tokenizer_type is None and data.tokenizer_model is None:
        return None
    tokenizer = build_tokenizer(data.tokenizer_type, data.tokenizer_model, config.model.vocab_size)
    given = config.model.vocab_size
    if given is not None and tokenizer.type != "NullTokenizer" and given < tokenizer.vocab_size:
        raise ConfigError(
            f"--vocab-size {given} with a tokenizer of {tokenizer.vocab_size} ids",
            rule="every id of the tokenizer is in the model's vocabulary",
            fix=f"leave --vocab-size out, or set it to {tokenizer.vocab_size} or more",
        )
    return tokenizer
