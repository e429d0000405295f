"""A Hugging Face folder → a run's folder whose checkpoint holds the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from steel_megatron.checkpoint.foreign import refuse_foreign
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.checkpoint.version import code_version
from steel_megatron.config import CheckpointError, RunConfig, run_config_text
from steel_megatron.huggingface.finite import FiniteWeights
from steel_megatron.huggingface.folder import StateFolder, read_config
from steel_megatron.huggingface.names import targets_of
from steel_megatron.huggingface.options import read_options
from steel_megatron.huggingface.tokenizers import check_ids, keep_tokenizer, tokenizer_of_folder
from steel_megatron.huggingface.weights import from_hugging_face
from steel_megatron.jobs.durable import write_text
from steel_megatron.model.gpt import GPT
from steel_megatron.model.slices import model_slices
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import param_dtype, parameters_with_spec
from steel_megatron.tokenizer.base import Tokenizer

PRECISIONS = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
STEP = 0  # of the checkpoint made: no step has been trained


@dataclass(frozen=True)
class Imported:
    """What an import wrote; ``tokenizer``: whether the run's folder has one."""

    folder: Path
    family: str
    precision: str
    parameters: int
    tokenizer: bool


def import_folder(
    hf: Path,
    save: Path,
    *,
    precision: str | None = None,
    tokenizer_model: str | None = None,
    family: str | None = None,
) -> Imported:
    """Makes a run's folder with ``config.yaml``, the tokenizer and a checkpoint of step 0 that holds weights only.

    A run starts from it with ``--pretrained-checkpoint``; export and generation take it with ``--load``.

    Args:
        hf: folder with config.json and safetensors.
        save: folder of the run, without checkpoints.
        precision: "bf16", "fp16" or "fp32" of the checkpoint; the widest of the files' types when None.
        tokenizer_model: instead of the tokenizer in ``hf``.
        family: of the files, by name or as module:Name; what config.json says when None.

    Raises:
        CheckpointError: files missing or damaged, names or shapes that do not fit, weights
            that are not finite, or ``save`` has checkpoints.
        ConfigError: a family or option that is not converted.
    """
    options = read_config(hf)
    chosen, model_config = read_options(options, family)
    state = StateFolder(hf)
    dtype = param_dtype(precision) if precision else state.dtype
    store = CheckpointStore(save)
    if store.steps() or (save / "config.yaml").exists():
        raise CheckpointError(f"{save} holds a run already", rule=store.describe(), fix="choose another --save")
    refuse_foreign(save, "--save")
    tokenizer = tokenizer_of_folder(hf, tokenizer_model)
    if tokenizer is not None:
        check_ids(tokenizer, model_config.vocab_size)
    config = RunConfig(model=model_config)
    length = min(config.training.seq_length, model_config.max_position_embeddings)
    config = config.replace(precision=PRECISIONS[dtype], seq_length=length)
    if tokenizer is not None:
        given = Path(hf if tokenizer_model is None else tokenizer_model)
        config = config.replace(tokenizer_model=str(given.absolute()) if given.exists() else tokenizer_model)
    model = GPT(model_config, Grid.single(), dtype=dtype)
    weights = FiniteWeights(state, dtype)
    from_hugging_face(weights, model, chosen, str(hf))
    weights.check(str(hf))
    save.mkdir(parents=True, exist_ok=True)
    kept = tokenizer is not None and keep_tokenizer(tokenizer, save)
    store.save(STEP, model_slices([model]), facts_of(config, tokenizer, hf))
    write_text(save / "config.yaml", run_config_text(config))
    count = sum(target.numel for target in targets_of(parameters_with_spec([model]), chosen))
    return Imported(save, chosen.name, PRECISIONS[dtype], count, kept)


def facts_of(config: RunConfig, tokenizer: Tokenizer | None, hf: Path) -> dict[str, Any]:
    """What a checkpoint of training holds beside tensors, for one that was not trained here."""
    return {
        "state": {"step": STEP, "consumed_samples": 0, "consumed_tokens": 0},
        "config": config.to_dict(),
        "optimizer": {},
        "phases": [],
        "tokenizer_fingerprint": None if tokenizer is None else tokenizer.fingerprint,
        "code_version": code_version(),
        "layout": {"world": 1, "tp": 1, "pp": 1, "dp": 1},
        "imported_from": str(hf.absolute()),
    }
