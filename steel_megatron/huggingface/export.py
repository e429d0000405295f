"""A run's checkpoint → a folder that ``transformers`` loads."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from steel_megatron.config import ConfigError, DataError
from steel_megatron.huggingface.checkpoints import RunCheckpoint
from steel_megatron.huggingface.family import Family
from steel_megatron.huggingface.finite import FiniteWeights
from steel_megatron.huggingface.folder import DTYPE_NAMES, check_target, new_folder, write_shards
from steel_megatron.huggingface.names import Target, targets_of
from steel_megatron.huggingface.options import family_of, write_options
from steel_megatron.huggingface.tokenizers import check_ids, load_tokenizer, tokenizer_of_run
from steel_megatron.jobs.durable import write_json
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import param_dtype, parameters_with_spec
from steel_megatron.tokenizer.base import Tokenizer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exported:
    """What an export wrote. ``bytes`` counts the weights; ``tokenizer``: whether the folder has one."""

    folder: Path
    step: int
    family: str
    dtype: str
    parameters: int
    bytes: int
    tokenizer: bool


def export_checkpoint(
    load: Path,
    output: Path,
    *,
    step: int | None = None,
    precision: str | None = None,
    tokenizer_model: str | None = None,
    max_shard_size: int = 5 * 10**9,
    overwrite: bool = False,
    family: str | None = None,
) -> Exported:
    """Writes ``output``: options, weights in safetensors, tokenizer. It appears when it is whole.

    One shard of weights is held in memory at a time. fp32 takes the optimizer's master weights where there are some.

    Args:
        load: folder of the run.
        output: folder to make; must be empty or not there unless ``overwrite``.
        step: of the checkpoint; the newest whole one when None.
        precision: "bf16", "fp16" or "fp32" of the weights written; the run's own when None.
        tokenizer_model: instead of the tokenizer that the run names.
        max_shard_size: bytes of one file of weights.
        overwrite: replace a model folder that is there.
        family: to write, by name or as module:Name; the one that has the model's options when None.

    Raises:
        CheckpointError: no such checkpoint, a damaged one, or weights that are NaN, infinite or too large for the type.
        ConfigError: no Hugging Face family has this model, or ``output`` is taken.
        DataError: the tokenizer is missing or not the run's.
    """
    check_target(output, overwrite)
    checkpoint = RunCheckpoint.open(load, step)
    model = checkpoint.model
    chosen = family_of(model, family)
    tokenizer = tokenizer_of_run(
        load, checkpoint.config.data, model.vocab_size, checkpoint.tokenizer_fingerprint, tokenizer_model
    )
    if tokenizer is not None and tokenizer.type == "NullTokenizer":  # it has no Hugging Face form
        tokenizer = None
    if tokenizer is not None:
        check_tokenizer(tokenizer, checkpoint)
    dtype = param_dtype(precision) if precision else checkpoint.dtype
    targets = targets_of(parameters_with_spec([meta_model(checkpoint)]), chosen)
    with new_folder(output, overwrite) as folder:
        tokens = write_tokenizer(tokenizer, folder)
        total = write_weights(checkpoint, targets, folder, dtype, max_shard_size)
        write_configs(chosen, checkpoint, folder, dtype, tokens)
    return Exported(
        output, checkpoint.step, chosen.name, DTYPE_NAMES[dtype], total // dtype.itemsize, total, tokens is not None
    )


def meta_model(checkpoint: RunCheckpoint) -> GPT:
    """The model's parameters as shapes and names only."""
    return GPT(checkpoint.model, Grid.single(), dtype=checkpoint.dtype, device="meta")


def check_tokenizer(tokenizer: Tokenizer, checkpoint: RunCheckpoint) -> None:
    """Refuses a tokenizer that is not the one the run was trained with."""
    trained_with = checkpoint.tokenizer_fingerprint
    if trained_with is not None and tokenizer.fingerprint != trained_with:
        raise DataError(
            f"the tokenizer's fingerprint is {tokenizer.fingerprint}, the run was trained with {trained_with}",
            rule="a model is exported with the tokenizer of its training data",
            fix="name that tokenizer with --tokenizer-model",
        )
    check_ids(tokenizer, checkpoint.model.vocab_size)


def write_tokenizer(tokenizer: Tokenizer | None, folder: Path) -> dict[str, Any] | None:
    """Writes the tokenizer's files and returns the ids of its control tokens as ``transformers`` sees them."""
    if tokenizer is not None:
        try:
            tokenizer.save_pretrained(folder)
        except ConfigError as error:
            log.warning("exported without a tokenizer: %s", error.given)
            return None
        loaded = load_tokenizer(folder)
        ends = [id_ for id_ in (tokenizer.eod_id, loaded.eos_token_id) if id_ is not None]
        return {
            "bos_token_id": loaded.bos_token_id,
            "eos_token_id": list(dict.fromkeys(ends)) or None,
            "pad_token_id": loaded.pad_token_id,
        }
    log.warning("exported without a tokenizer: the run names none (--tokenizer-model gives one)")
    return None


def write_weights(
    checkpoint: RunCheckpoint, targets: Sequence[Target], folder: Path, dtype: torch.dtype, max_shard_size: int
) -> int:
    """Writes the shards and returns the bytes of all tensors.

    Raises:
        CheckpointError: weights are NaN, infinite or too large for ``dtype``.
    """
    weights = FiniteWeights(JoinedWeights(checkpoint, targets, masters=dtype == torch.float32), dtype)
    progress = tqdm(total=len(targets), desc="weights", unit="tensor", disable=not sys.stderr.isatty())

    def build(names: Sequence[str]) -> dict[str, Tensor]:
        shard = {}
        for name in names:
            shard[name] = weights[name].to(dtype)
            progress.update()
        return shard

    with progress:
        total = write_shards(
            folder, [(target.name, target.numel * dtype.itemsize) for target in targets], build, max_shard_size
        )
    weights.check(str(checkpoint.store.folder(checkpoint.step)), fix="export an earlier --step")
    return total


class JoinedWeights:
    """A checkpoint's tensors as a state dict in a family's names."""

    def __init__(self, checkpoint: RunCheckpoint, targets: Sequence[Target], masters: bool) -> None:
        self.checkpoint = checkpoint
        self.targets = {target.name: target for target in targets}
        self.masters = masters
        self.shapes: Mapping[str, tuple[int, ...]] = {target.name: target.shape for target in targets}

    def __getitem__(self, name: str) -> Tensor:
        target = self.targets[name]
        return target.join(self.checkpoint.tensors(target.pieces, self.masters))


def write_configs(
    family: Family, checkpoint: RunCheckpoint, folder: Path, dtype: torch.dtype, tokens: dict[str, Any] | None
) -> None:
    """Writes ``config.json`` and ``generation_config.json``."""
    import transformers

    ids = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")) | (tokens or {})
    ends = ids["eos_token_id"]
    first_end = {"eos_token_id": ends[0] if ends else None}
    version = {"transformers_version": transformers.__version__}
    types = {"torch_dtype": DTYPE_NAMES[dtype], "dtype": DTYPE_NAMES[dtype]}  # transformers 4 and 5
    # A padding id in config.json would keep gradients from its row of the embedding, and it is often a document's end.
    control = {**ids, **first_end, "pad_token_id": None}
    write_json(folder / "config.json", write_options(family, checkpoint.model) | types | control | version)
    if not ends or len(ends) == 1:
        ids |= first_end
    write_json(folder / "generation_config.json", ids | version)
