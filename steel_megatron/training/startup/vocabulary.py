"""The run's tokenizer, and how large the model's vocabulary must be."""

from __future__ import annotations

from pathlib import Path

from steel_megatron.config import ConfigError, DataConfig, RunConfig
from steel_megatron.tokenizer.base import Tokenizer
from steel_megatron.tokenizer.build import build_tokenizer

FOLDER = "tokenizer"  # of the run's folder: a copy of the tokenizer, for export and generation


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


def keep_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Copies the tokenizer into the run's folder once, in Hugging Face form where it has one."""
    target = folder / FOLDER
    if target.is_dir():
        return
    temporary = folder / (FOLDER + ".tmp")
    temporary.mkdir(parents=True, exist_ok=True)
    try:
        tokenizer.save_pretrained(temporary)
    except ConfigError:  # no such form: the run goes on without a copy
        temporary.rmdir()
        return
    temporary.rename(target)
