"""A stream whose lost lines are counted and told."""

from __future__ import annotations

import errno
import io
import sys

import pytest

from steel_megatron.training.output.steady_output import SteadyOutput, steady_output


class Disk(io.StringIO):
    """A stream that refuses while ``error`` is set."""

    error: OSError | None = None

    def write(self, text: str) -> int:
        if self.error is not None:
            raise self.error
        return super().write(text)


def test_lost_lines_are_told_once_there_is_room() -> None:
    disk = Disk()
    out = SteadyOutput(disk)
    disk.error = OSError(errno.ENOSPC, "No space left on device")
    assert out.write("one\ntwo\n") == 8
    out.write("three\n")
    disk.error = None
    out.write("four\n")
    out.write("five\n")
    told = "(3 lines before this could not be written: No space left on device)\n"
    assert disk.getvalue() == told + "four\nfive\n"


def test_a_closed_pipe_stays_an_error() -> None:
    disk = Disk()
    disk.error = BrokenPipeError(errno.EPIPE, "Broken pipe")
    with pytest.raises(BrokenPipeError):
        SteadyOutput(disk).write("one\n")


def test_bytes_go_to_the_descriptor_and_the_streams_come_back(tmp_path, monkeypatch) -> None:
    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        with steady_output():
            assert isinstance(sys.stdout, SteadyOutput)
            print("ü")
            assert (tmp_path / "out").read_text(encoding=stream.encoding) == "ü\n"
        assert sys.stdout is stream
