"""Event files as tensorboard reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from steel_megatron.training.output.event_file import EventFile


def events(folder: Path) -> list:
    return [event for path in sorted(folder.iterdir()) for event in EventFileLoader(str(path)).Load()]


def test_scalars_are_read_back_while_the_file_is_open(tmp_path: Path) -> None:
    file = EventFile(tmp_path)
    file.add({1: {"train/loss": 2.5}, 2: {"train/loss": 2.25, "train/lr": 0.5}})
    found = [(e.step, v.tag, v.tensor.float_val[0]) for e in events(tmp_path) for v in e.summary.value]
    assert found == [
        (1, "train/loss", pytest.approx(2.5)),
        (2, "train/loss", pytest.approx(2.25)),
        (2, "train/lr", pytest.approx(0.5)),
    ]
    file.close()


def test_a_resumed_run_hides_later_steps_and_has_a_file_of_its_own(tmp_path: Path) -> None:
    EventFile(tmp_path).close()
    EventFile(tmp_path, purge_step=7).close()
    assert len(list(tmp_path.iterdir())) == 2
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert starts == [7]
