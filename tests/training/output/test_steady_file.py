"""Files that a run appends to, on a disk that is full, in a folder that goes away."""

from __future__ import annotations

import logging
import os
import resource
import shutil
from pathlib import Path

import pytest

from helpers.forked import in_child
from helpers.small_disk import fill, small_disk  # noqa: F401 - a fixture
from steel_megatron.training.callbacks.metrics import MetricsFile
from steel_megatron.training.output.metrics_rows import read_metrics
from steel_megatron.training.output.steady_file import SteadyFile


def test_a_full_disk_loses_nothing_and_is_told_once(small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    file = SteadyFile(small_disk / "lines")
    file.append(b"first\n")
    filler = small_disk / "filler"
    fill(filler)
    lines = [f"{number:05d} {'x' * 5000}\n".encode() for number in range(5)]
    for line in lines:
        file.append(line)
    assert (small_disk / "lines").read_bytes() == b"first\n"  # nothing half written
    filler.unlink()
    file.append(b"last\n")
    file.close()
    assert (small_disk / "lines").read_bytes() == b"first\n" + b"".join(lines) + b"last\n"
    told = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 2
    assert "cannot be written (No space left on device): training goes on" in told[0]
    assert "is written again, with what was kept" in told[1]


def test_a_removed_folder_is_made_again_with_what_the_file_held(tmp_path: Path, caplog) -> None:
    folder = tmp_path / "run" / "tensorboard"
    file = SteadyFile(folder / "lines")
    file.append(b"one\n")
    shutil.rmtree(tmp_path / "run")
    file.append(b"two\n")
    (folder / "lines").unlink()
    file.append(b"three\n")
    assert (folder / "lines").read_bytes() == b"one\ntwo\nthree\n"
    assert os.listdir(folder) == ["lines"]
    os.replace(folder / "lines", folder / "old")  # as logrotate does
    (folder / "lines").write_bytes(b"")
    file.append(b"four\n")
    file.close()
    assert (folder / "lines").read_bytes() == b"four\n"
    assert caplog.text.count("was removed: it is made again, with what it held") == 2


def test_a_folder_that_cannot_come_back_costs_nothing_but_the_file(tmp_path: Path, caplog) -> None:
    file = SteadyFile(tmp_path / "run" / "lines")
    file.append(b"one\n")
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "run").write_text("a file where the folder was")
    for _ in range(3):
        file.append(b"two\n")
    file.close()
    assert caplog.text.count("cannot be written") == 1
    assert "lacks its end" in caplog.text


def test_what_waits_has_an_end(tmp_path: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr("steel_megatron.training.output.steady_file.KEPT_BYTES", 30)

    def work() -> None:
        file = SteadyFile(tmp_path / "lines")
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        for number in range(10):
            file.append(f"line {number:04d}\n".encode())
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        file.append(b"end\n")
        file.close()

    assert in_child(work) == 0
    assert (tmp_path / "lines").read_text() == "line 0007\nline 0008\nline 0009\nend\n"


def test_metrics_keep_each_step_once_when_their_folder_goes(tmp_path: Path) -> None:
    from types import SimpleNamespace

    metrics = MetricsFile(tmp_path / "run" / "metrics.jsonl")
    metrics.on_start(SimpleNamespace(state=SimpleNamespace(step=0)))  # type: ignore[arg-type]
    for step in range(1, 6):
        if step == 3:
            shutil.rmtree(tmp_path / "run")
        metrics.on_metrics(None, [{"step": step}])  # type: ignore[arg-type]
    metrics.close()
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2, 3, 4, 5]
