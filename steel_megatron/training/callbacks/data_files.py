"""Looks, while a run goes, whether the data is still what was opened."""

from __future__ import annotations

import logging
import time

from steel_megatron.samples.loader import Loader
from steel_megatron.tokens.data_file import MovedDataError
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.training.intervals import every
from steel_megatron.training.loop import Callback, Metrics, Trainer

log = logging.getLogger(__name__)

SECONDS = 60.0  # between two looks, where neither a validation nor an epoch comes before


class DataFiles(Callback):
    """Checks the files of the sources that are still to be read: at validations, checkpoints, epochs, once a minute.

    A file that was removed or replaced is still read as it was, so what the run has made of it is good: it saves before
    it ends with the error, and one that has made its last step only tells. What was written to or cut off ends it at
    once. Runs after the checkpoint is written.
    """

    def __init__(self, *intervals: int | None) -> None:
        self.intervals = intervals  # steps between validations, and between checkpoints
        self.moved: MovedDataError | None = None
        self.looked = 0.0
        self.epochs: dict[str, int] = {}

    def on_start(self, trainer: Trainer) -> None:
        self.epochs = epochs_of(trainer)
        self.check(trainer)

    def on_metrics(self, trainer: Trainer, rows: list[Metrics]) -> None:
        epochs = epochs_of(trainer)
        due = any(every(interval, trainer.state.step) for interval in self.intervals) or epochs != self.epochs
        if due or time.monotonic() - self.looked > SECONDS:
            self.epochs = epochs
            try:
                self.check(trainer)
            except MovedDataError as error:
                self.moved = error
                trainer.stop_request = error.given

    def on_end(self, trainer: Trainer) -> None:
        if self.moved is None:
            return
        if trainer.state.step < trainer.components.batch_size.total_steps:
            raise self.moved
        log.warning("%s; the run has read all that it needed", self.moved.given)

    def check(self, trainer: Trainer) -> None:
        """Raises DataError for the first file that is not what it was."""
        self.looked = time.monotonic()
        reader = trainer.components.train_data.reader
        needed = reader.order.names_from(reader.skips.frontier(trainer.state.consumed_samples))
        check_files(trainer.components.train_data, needed)
        if trainer.components.valid_data is not None:
            check_files(trainer.components.valid_data, trainer.components.valid_data.reader.order.names)


def check_files(loader: Loader, names: list[str]) -> None:
    """The files of these sources of a loader."""
    for name in names:
        dataset = getattr(loader.reader.sources.get(name), "dataset", None)
        if isinstance(dataset, IndexedDataset):
            dataset.check_files()


def epochs_of(trainer: Trainer) -> dict[str, int]:
    """The epoch that each source is in, by arithmetic."""
    reader = trainer.components.train_data.reader
    counts = reader.counts(trainer.state.consumed_samples)
    return {name: counts[name] // windows for name, windows in reader.order.windows.items() if windows}
