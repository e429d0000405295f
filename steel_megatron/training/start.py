"""Where a run starts from: a checkpoint to continue, given weights, or nothing."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointConfig, CheckpointError, ConfigError, ModelConfig

log = logging.getLogger(__name__)

# What a checkpoint and the model that loads it must have in common.
SHAPE = (
    "num_layers",
    "hidden_size",
    "ffn_hidden_size",
    "num_attention_heads",
    "num_query_groups",
    "kv_channels",
    "vocab_size",
    "position_embedding_type",
    "normalization",
    "activation",
    "add_bias_linear",
    "add_qkv_bias",
    "qk_layernorm",
    "untie_embeddings_and_output_weights",
)


@dataclass
class Start:
    """What to load before the first step.

    ``store`` None: a fresh run. ``weights_only``: the model's weights and nothing else.
    """

    store: CheckpointStore | None = None
    step: int = 0
    weights_only: bool = False
    facts: dict[str, Any] = field(default_factory=dict)  # the checkpoint's part that is not tensors

    def check(self, model: ModelConfig, tokenizer_fingerprint: str | None) -> None:
        """Refuses a checkpoint of another model shape or tokenizer, and says in what it differs."""
        if self.store is None:
            return
        where = self.store.folder(self.step)
        saved = self.facts["config"]["model"]
        now = dataclasses.asdict(model)
        differences = [
            f"{name} {saved[name]} there, {now[name]} here"
            for name in SHAPE
            if name in saved and saved[name] != now[name]
        ]
        if differences:
            raise CheckpointError(
                f"{where} holds another model: {'; '.join(differences)}",
                rule="a checkpoint is continued with the model it was made of",
                fix=f"use the configuration in {where / 'facts.json'}, or another --save or --load folder",
            )
        known = self.facts.get("tokenizer_fingerprint")
        if None not in (known, tokenizer_fingerprint) and known != tokenizer_fingerprint:
            raise CheckpointError(
                f"{where} was trained with tokenizer {known}, this run's is {tokenizer_fingerprint}",
                rule="a model keeps its tokenizer",
                fix="give the tokenizer and data that the checkpoint was trained with",
            )


def check_start(config: CheckpointConfig) -> None:
    """Refuses, before any process joins, to load from a folder that is not there."""
    for name in ("load", "pretrained_checkpoint"):
        value = getattr(config, name)
        if value is not None and not Path(value).is_dir():
            raise CheckpointError(
                f"--{name.replace('_', '-')} {value}: no such folder",
                rule="a run that shall continue does not start from nothing",
                fix="check the path, or leave the flag out to start a new run",
            )
    if config.load is not None and config.pretrained_checkpoint is not None:
        raise ConfigError(
            "--load and --pretrained-checkpoint together",
            rule="a run continues one (--load) or starts anew from weights (--pretrained-checkpoint)",
            fix="leave one of them out",
        )
    if config.finetune and config.load is None:
        raise ConfigError("--finetune without --load", fix="name the checkpoint folder with --load")


def find_start(config: CheckpointConfig) -> Start:
    """Decides what to load; every rank comes to the same answer (a collective call).

    A run that was interrupted continues from ``--save`` whatever it once started from, so the same command can be
    given again after every stop.

    Raises:
        CheckpointError: ``--load`` or ``--pretrained-checkpoint`` holds no whole checkpoint.
    """
    if config.save is not None and (config.load is None or not _same(config.save, config.load)):
        continued = _newest(CheckpointStore(Path(config.save)), None)
        if continued is not None:
            if config.load is not None or config.pretrained_checkpoint is not None:
                log.info("%s has checkpoints of this run: it is continued from them", config.save)
            return continued
    for source, weights_only in ((config.load, config.finetune), (config.pretrained_checkpoint, True)):
        if source is None:
            continue
        store = CheckpointStore(Path(source))
        start = _newest(store, config.ckpt_step)
        if start is None:
            raise CheckpointError(
                f"{source} holds no whole checkpoint", rule=store.describe(), fix="check the path and --ckpt-step"
            )
        start.weights_only = weights_only
        return start
    return Start()


def _same(one: str, other: str) -> bool:
    return Path(one).resolve() == Path(other).resolve()


def _newest(store: CheckpointStore, step: int | None) -> Start | None:
    """The newest whole checkpoint, or the one of a given step."""
    if step is None:
        step = store.newest()
    elif step not in store.steps():
        return None
    elif problems := store.verify(step):
        raise CheckpointError(
            f"{store.folder(step)} is damaged: {'; '.join(problems[:3])}",
            fix="leave --ckpt-step out to take the newest whole checkpoint",
        )
    return None if step is None else Start(store, step, facts=store.facts(step))
