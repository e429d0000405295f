"""What a run's folder holds beside checkpoints and numbers: its configuration, its tokenizer, its lock."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from steel_megatron.config import RunConfig, StorageError, run_config_text
from steel_megatron.huggingface.tokenizers import COPY, keep_tokenizer
from steel_megatron.jobs.durable import write_text
from steel_megatron.tokenizer.base import Tokenizer
from steel_megatron.training.loop import Callback, Metrics, Trainer
from steel_megatron.training.output.lock import FolderLock, not_writable

log = logging.getLogger(__name__)


class RunFiles(Callback):
    """Writes them at the start, and again where the folder was removed under the run. On one rank only.

    Raises:
        CheckpointError: the folder was removed, and another run has begun in it.
    """

    def __init__(self, config: RunConfig, folder: Path, tokenizer: Tokenizer | None, lock: FolderLock) -> None:
        self.config = config
        self.folder = folder
        self.tokenizer = tokenizer
        self.lock = lock
        self.told = False

    def write(self) -> None:
        """Writes the configuration, and the tokenizer if it is not there.

        Raises:
            StorageError: the folder does not take them.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / "config.yaml", run_config_text(self.config))
            if self.tokenizer is not None and not (self.folder / COPY).is_dir():
                keep_tokenizer(self.tokenizer, self.folder)
        except OSError as error:
            raise not_writable(self.folder, error) from error

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        try:
            if not os.path.exists(self.folder / "config.yaml"):
                self.lock.renew()
                self.write()
                log.warning("%s was removed: config.yaml and what goes on are written again", self.folder)
            self.told = False
        except (OSError, StorageError) as error:
            if not self.told:
                told = not_writable(self.folder, error) if isinstance(error, OSError) else error
                log.warning("%s; training goes on", told.given)
            self.told = True
