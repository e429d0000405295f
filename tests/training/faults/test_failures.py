"""A rank that fails says why, and the others, which wait for it in a collective, leave within seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers.failing_runs import fail_in
from helpers.tiny_run import run_config
from steel_megatron.config import ConfigError, DeviceMemoryError, TrainingConfig
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.processes.failure import exit_status
from steel_megatron.training.faults.failures import out_of_memory, told_failures


def arguments(tmp_path: Path, **knobs: object) -> list[str]:
    return ["train", "--config", str(run_config(tmp_path, eval_iters=0, save_interval=1, **knobs))]


def test_an_error_is_told_in_full_and_ends_all(tmp_path: Path) -> None:
    rank, says = 1, "ValueError: planted in setup"
    ends = fail_in("setup", rank, arguments(tmp_path), tmp_path / "out")
    failed, other = ends[rank], ends[1 - rank]
    assert failed.status == 1, failed.text
    assert f"[rank {rank} on " in failed.text
    assert f"] error: {says}\n  rule: " in failed.text.split("Traceback")[0]
    assert "Traceback" in failed.text
    assert says in failed.text
    assert other.status == 1, other.text
    assert f"leaves: rank {rank} on " in other.text
    assert says in other.text
    assert "Traceback" not in other.text
    assert not other.record
    assert json.loads(failed.record)["message"]["message"] == says


def test_a_full_disk_under_one_rank_is_three_lines_and_ends_all(tmp_path: Path) -> None:
    failed, other = fail_in("callback", 0, arguments(tmp_path), tmp_path / "out")
    assert failed.status == 2, failed.text
    assert failed.text.count("error: No space left on device\n  rule: ") == 1
    assert "Traceback" not in failed.text
    assert (other.status, other.text) == (1, "")  # it is said once on a machine


def test_a_gpu_without_memory_is_three_lines_with_a_way_out(tmp_path: Path) -> None:
    failed, other = fail_in("memory", 0, arguments(tmp_path), tmp_path / "out")
    assert failed.status == 2
    assert "error: cpu of rank 0 is out of memory: 2.00 GiB more were asked for" in failed.text
    assert "--micro-batch-size 1 instead of 2" in failed.text
    assert "Traceback" not in failed.text
    assert other.status == 1
    assert other.text == ""  # it is on the same machine, and nothing is added to three lines


def test_an_interrupted_rank_says_so_without_a_traceback(tmp_path: Path) -> None:
    failed, other = fail_in("interrupt", 1, arguments(tmp_path), tmp_path / "out")[::-1]
    assert failed.status == 130
    assert "interrupted: leaving at once, unsaved; the same command goes on from the last checkpoint" in failed.text
    assert "Traceback" not in failed.text + other.text
    assert "leaves: rank 1 on " in other.text


def test_a_save_that_fails_is_said_once(tmp_path: Path) -> None:
    """Every rank comes to know it in the save itself, so none has to be told; the second says nothing more."""
    ends = fail_in("save", 1, [*arguments(tmp_path), "--strict-saves"], tmp_path / "out", hang=False)
    assert [end.status for end in ends] == [2, 2]
    text = ends[0].text + ends[1].text
    assert text.count("error: writing checkpoint") == 1
    assert "rank 1: OSError: [Errno 28] No space left on device" in text


def test_a_process_that_dies_without_a_word_is_missed(tmp_path: Path) -> None:
    ends = fail_in("die", 0, arguments(tmp_path), tmp_path / "out")
    assert ends[0].status == -9
    assert ends[1].status == 1
    assert "rank 0 on " in ends[1].text
    assert "has died (process " in ends[1].text


def test_what_a_peer_meets_because_of_it_is_one_line(tmp_path: Path) -> None:
    failed, other = fail_in("forward", 1, arguments(tmp_path), tmp_path / "out", hang=False)[::-1]
    assert "RuntimeError: planted in forward" in failed.text
    assert "Traceback" not in other.text
    assert "planted in forward" in other.text
    assert other.status == 1


def test_exit_statuses() -> None:
    errors = [KeyboardInterrupt(), SystemExit(7), SystemExit("no"), SystemExit(), ConfigError("x"), ValueError("x")]
    assert [exit_status(error) for error in errors] == [130, 7, 1, 0, 2, 1]


def test_a_single_process_raises_and_stays_alive(capsys: pytest.CaptureFixture[str]) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
    with pytest.raises(DeviceMemoryError, match=r"20\.00 MiB more"), told_failures(TrainingConfig(), Grid.single()):
        raise error
    with pytest.raises(KeyboardInterrupt), told_failures(TrainingConfig(), Grid.single()):
        raise KeyboardInterrupt
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 21474836480 bytes. Error code 12"
        ),
        RuntimeError("Storage size calculation overflowed with sizes=[9223372036854775807, 16]"),
        MemoryError(),
    ],
)
def test_a_cpu_without_memory_is_three_lines(error: Exception) -> None:
    memory = pytest.raises(DeviceMemoryError, match="memory of this machine")
    with memory as caught, told_failures(TrainingConfig(), Grid.single()):
        raise error
    assert caught.value.__cause__ is error
    assert ("20.0 GiB more" in str(caught.value)) == ("21474836480" in str(error))
    with pytest.raises(RuntimeError, match="another"), told_failures(TrainingConfig(), Grid.single()):
        raise RuntimeError("another")


def test_the_figures_of_a_gpu_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gib = 2**30
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1 * gib, 80 * gib))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 60 * gib)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 70 * gib)
    training = TrainingConfig(micro_batch_size=1, recompute_granularity="full")
    text = str(out_of_memory(torch.OutOfMemoryError("no figure here"), training, Grid.single("cuda:0")))
    assert "of 80.0 GiB, tensors take 60.0, the allocator keeps 10.0 more, libraries and other processes 9.0" in text
    assert "expandable_segments" in text
    assert "--micro-batch-size" not in text
    assert "--recompute" not in text
