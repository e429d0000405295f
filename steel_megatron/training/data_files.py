"""Looks, while a run goes, whether the data is still what was opened."""

from __future__ import annotations

import time

from steel_megatron.dataset.indexed import IndexedDataset
from steel_megatron.dataset.loader import Loader
from steel_megatron.training.intervals import every
from steel_megatron.training.loop import Callback, Metrics, Trainer

SECONDS = 60.0  # between two looks, where neither a validation nor an epoch comes before


class DataFiles(Callback):
    """Checks the files of the sources that are still to be read: at every validation and epoch, and once a minute.

    A file that was replaced goes on to be read as it was, so that nothing is computed with two kinds of data; the check
    ends the run before that is found at its next start. Runs before the validation.
    """

    def __init__(self, eval_interval: int) -> None:
        self.eval_interval = eval_interval
        self.looked = 0.0
        self.epochs: dict[str, int] = {}

    def on_start(self, trainer: Trainer) -> None:
        self.epochs = epochs_of(trainer)
        self.check(trainer)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        epochs = epochs_of(trainer)
        due = every(self.eval_interval, trainer.state.step) or epochs != self.epochs
        if due or time.monotonic() - self.looked > SECONDS:
            self.epochs = epochs
            self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Raises DataError for the first file that is not what it was."""
        self.looked = time.monotonic()
        reader = trainer.parts.train_data.reader
        needed = reader.order.names_from(reader.skips.frontier(trainer.state.consumed_samples))
        check_files(trainer.parts.train_data, needed)
        if trainer.parts.valid_data is not None:
            check_files(trainer.parts.valid_data, trainer.parts.valid_data.reader.order.names)


def check_files(loader: Loader, names: list[str]) -> None:
    """The files of these sources of a loader."""
    for name in names:
        dataset = getattr(loader.reader.sources.get(name), "dataset", None)
        if isinstance(dataset, IndexedDataset):
            dataset.check_files()


def epochs_of(trainer: Trainer) -> dict[str, int]:
    """The epoch that each source is in, by arithmetic."""
    reader = trainer.parts.train_data.reader
    counts = reader.counts(trainer.state.consumed_samples)
    return {name: counts[name] // windows for name, windows in reader.order.windows.items() if windows}
