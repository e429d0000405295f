"""What a run leaves to read: metrics.jsonl, tensorboard events and, if asked, Weights & Biases."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from steel_megatron.jobs.needed import needed
from steel_megatron.training.loop import Callback, Metrics, Trainer
from steel_megatron.training.output.event_file import EventFile
from steel_megatron.training.output.metrics_rows import truncate_metrics
from steel_megatron.training.output.steady_file import SteadyFile

log = logging.getLogger(__name__)


class MetricsFile(Callback):
    """One JSON object per step in ``SAVE/metrics.jsonl``, written when the steps' numbers are read.

    A resumed run first drops the lines of steps after its checkpoint, so that each step stands there once; a line cut
    off by a kill goes too.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: SteadyFile | None = None

    def on_start(self, trainer: Trainer) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            truncate_metrics(self.path, trainer.state.step)
        self.file = SteadyFile(self.path)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        assert self.file is not None
        lines = [json.dumps({key: _plain(value) for key, value in row.items()}) + "\n" for row in rows]
        self.file.append("".join(lines).encode())

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class TensorboardEvents(Callback):
    """Scalars under ``train/`` and ``valid/`` by step; a resumed run hides the steps after its checkpoint."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file: EventFile | None = None

    def on_start(self, trainer: Trainer) -> None:
        self.file = EventFile(self.folder, purge_step=trainer.state.step + 1)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        assert self.file is not None
        self.file.add({row["step"]: scalars(row) for row in rows})

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class WandbRun(Callback):
    """The same scalars to Weights & Biases; what fails there does not end the run, and is told once."""

    def __init__(self, project: str, name: str | None, folder: Path) -> None:
        self.wandb = needed("wandb", "--wandb-project", "pip install wandb")
        self.project = project
        self.name = name
        self.folder = folder
        self.told = False

    def on_start(self, trainer: Trainer) -> None:
        self.wandb.init(
            project=self.project, name=self.name, dir=str(self.folder), config=trainer.config.to_dict(), resume="allow"
        )

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        with self.passed_over():
            for row in rows:
                self.wandb.log(scalars(row), step=row["step"])

    def on_end(self, trainer: Trainer) -> None:
        with self.passed_over():
            self.wandb.finish()

    @contextmanager
    def passed_over(self) -> Iterator[None]:
        """Whatever the service's client raises inside is told, once."""
        try:
            yield
        except Exception as error:
            if not self.told:
                log.warning("Weights & Biases takes no numbers: %s: %s; training goes on", type(error).__name__, error)
            self.told = True


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
