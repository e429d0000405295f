"""A trained model with its tokenizer, ready to continue text: from a run's checkpoint or a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steel_megatron.config import ConfigError
from steel_megatron.config.texts import read_json_object
from steel_megatron.huggingface.checkpoints import RunCheckpoint
from steel_megatron.huggingface.folder import StateFolder, read_config
from steel_megatron.huggingface.options import read_options
from steel_megatron.huggingface.tokenizers import load_tokenizer, tokenizer_of_run
from steel_megatron.huggingface.weights import from_hugging_face
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import param_dtype


@dataclass
class TextModel:
    """A model, how its text becomes ids and back, and the ids that end a text."""

    model: GPT
    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    stop_ids: tuple[int, ...]


def from_run(
    folder: Path, step: int | None, tokenizer_model: str | None, precision: str | None, device: torch.device
) -> TextModel:
    """A run's model at a step (the newest when None). Text is encoded as in training: no control tokens.

    Raises:
        CheckpointError: no such checkpoint. ConfigError: no tokenizer is known.
    """
    checkpoint = RunCheckpoint.open(folder, step)
    tokenizer = tokenizer_of_run(
        folder,
        checkpoint.config.data,
        checkpoint.model.vocab_size,
        checkpoint.tokenizer_fingerprint,
        tokenizer_model,
    )
    if tokenizer is None:
        raise ConfigError(
            f"{folder} names no tokenizer",
            rule="a prompt is encoded with the run's tokenizer",
            fix="give --tokenizer-model",
        )
    dtype = param_dtype(precision) if precision else checkpoint.dtype
    model = GPT(checkpoint.model, Grid.single(device), dtype=dtype).eval()
    checkpoint.load_into(model)
    stop = () if tokenizer.eod_id is None else (tokenizer.eod_id,)
    return TextModel(model, tokenizer.encode, tokenizer.decode, stop)


def from_folder(folder: Path, precision: str | None, device: torch.device) -> TextModel:
    """The model of a Hugging Face folder. Text is encoded as ``AutoTokenizer`` does, control tokens included.

    Raises:
        CheckpointError: missing or damaged files. ConfigError: a family or option that is not converted.
    """
    options = read_config(folder)
    family, config = read_options(options)
    state = StateFolder(folder)
    dtype = param_dtype(precision) if precision else state.dtype
    model = GPT(config, Grid.single(device), dtype=dtype).eval()
    from_hugging_face(state, model, family, str(folder))
    tokenizer = load_tokenizer(folder)
    return TextModel(
        model,
        lambda text: list(tokenizer(text)["input_ids"]),
        lambda ids: tokenizer.decode(list(ids)),
        stop_ids(folder, options, tokenizer.eos_token_id),
    )


def stop_ids(folder: Path, options: Mapping[str, Any], tokenizer_end: int | None) -> tuple[int, ...]:
    """Ids that end a text: those of generation_config.json, else of config.json, else the tokenizer's."""
    generation = read_json_object(folder / "generation_config.json")
    for given in (generation.get("eos_token_id"), options.get("eos_token_id"), tokenizer_end):
        if given is not None:
            return tuple(given) if isinstance(given, list) else (given,)
    return ()


def choose_device(name: str) -> torch.device:
    """The device of ``--device``; auto: a GPU if torch sees one.

    Raises:
        ConfigError: cuda is asked for and not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda", rule="torch sees no GPU here", fix="use --device cpu; see steel doctor")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
