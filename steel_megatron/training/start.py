"""Where a run starts from: a checkpoint to continue, given weights, or nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointConfig, CheckpointError, ConfigError

log = logging.getLogger(__name__)


@dataclass
class Start:
    """What to load before the first step.

    ``store`` None: a fresh run. ``weights_only``: the model's weights and nothing else.
    """

    store: CheckpointStore | None = None
    step: int = 0
    weights_only: bool = False
    facts: dict[str, Any] = field(default_factory=dict)  # the checkpoint's part that is not tensors


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
    if config.save is not None and Path(config.save).resolve() != Path(config.load or config.save).resolve():
        continued = _newest(CheckpointStore(Path(config.save)), None)
        if continued is not None:
            log.info("--save %s holds checkpoints of this run: it is continued, --load is not used", config.save)
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
