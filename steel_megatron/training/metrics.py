"""What a run leaves to read: metrics.jsonl, tensorboard events and, if asked, Weights & Biases."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import IO, Any

from steel_megatron.config import ConfigError
from steel_megatron.training.loop import Callback, Metrics, Trainer
from steel_megatron.training.metrics_rows import truncate_metrics


class MetricsFile(Callback):
    """One JSON object per step in ``SAVE/metrics.jsonl``, written when the steps' numbers are read.

    A resumed run first drops the lines of steps after its checkpoint, so that each step stands there once; a line cut
    off by a kill goes too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: IO[str] | None = None

    def on_start(self, trainer: Trainer) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            truncate_metrics(self.path, trainer.state.step)
        self.file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - closed in close()

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        assert self.file is not None
        for row in rows:
            self.file.write(json.dumps({key: _plain(value) for key, value in row.items()}) + "\n")
        self.file.flush()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class TensorboardEvents(Callback):
    """Scalars under ``train/`` and ``valid/`` by step; a resumed run hides the steps after its checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer: Any = None

    def on_start(self, trainer: Trainer) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.folder), purge_step=trainer.state.step + 1)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        for row in rows:
            for key, value in scalars(row).items():
                self.writer.add_scalar(key, value, row["step"])

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


class WandbRun(Callback):
    """The same scalars to Weights & Biases."""

    def __init__(self, project: str, name: str | None, folder: Path) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ConfigError("--wandb-project, but wandb is not installed", fix="pip install wandb") from error
        self.wandb = wandb
        self.project = project
        self.name = name
        self.folder = folder

    def on_start(self, trainer: Trainer) -> None:
        self.wandb.init(
            project=self.project, name=self.name, dir=str(self.folder), config=trainer.config.to_dict(), resume="allow"
        )

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        for row in rows:
            self.wandb.log(scalars(row), step=row["step"])

    def on_end(self, trainer: Trainer) -> None:
        self.wandb.finish()


def scalars(metrics: Metrics) -> dict[str, float]:
    """The finite numbers of a step under tensorboard's names."""
    numbers = {}
    for key, value in metrics.items():
        if isinstance(value, (int, float)) and math.isfinite(value) and key != "step":
            group, _, rest = key.partition("_")
            numbers[f"valid/{rest}" if group == "valid" else f"train/{key}"] = float(value)
        elif isinstance(value, dict):
            numbers.update({f"{key}/{name}": float(number) for name, number in value.items() if math.isfinite(number)})
    return numbers


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _plain(number) for key, number in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
