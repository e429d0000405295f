"""Tensorboard's event files, written in the calling thread, so that a fault is met where it can be handled."""

from __future__ import annotations

import io
import itertools
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from steel_megatron.training.output.steady_file import SteadyFile


class EventFile:
    """One file of scalars, readable while it is written.

    Args:
        folder: where tensorboard looks.
        purge_step: scalars of this step and later in older files are hidden.
    """

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        # A file of its own, also of a second run of this process within the second: a branch may keep the older one.
        number = next(number for number in itertools.count() if not (folder / f"{name}.{number}").exists())
        self.file = SteadyFile(folder / f"{name}.{number}")
        head = _record(file_version="brain.Event:2")
        if purge_step is not None:
            from tensorboard.compat.proto.event_pb2 import SessionLog

            head += _record(step=purge_step, file_version="brain.Event:2")
            head += _record(step=purge_step, session_log=SessionLog(status=SessionLog.START))
        self.file.append(head)

    def add(self, scalars_by_step: Mapping[int, Mapping[str, float]]) -> None:
        """Scalars of some steps, by name."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        records = [
            _record(step=step, summary=Summary(value=[Summary.Value(tag=name, simple_value=number)]))
            for step, scalars in scalars_by_step.items()
            for name, number in scalars.items()
        ]
        self.file.append(b"".join(records))

    def close(self) -> None:
        self.file.close()


def _record(**fields: object) -> bytes:
    """An event as it stands in the file, with its length and checksums."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    content = io.BytesIO()
    RecordWriter(content).write(Event(wall_time=time.time(), **fields).SerializeToString())
    return content.getvalue()
