"""Disks, folders and data files that fail while a run goes: what goes on, what stops, and what is said."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.curves import assert_same_checkpoint, curve
from helpers.small_disk import fill, mounted
from helpers.tiny_run import command, environment, run_config, train, write_tokens
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.training.output.metrics_rows import read_metrics


def steps_in(run: Path) -> list[int]:
    return [row["step"] for row in read_metrics(run / "metrics.jsonl")]


def test_a_disk_that_is_full_for_a_while_costs_one_checkpoint(tmp_path: Path, before_step) -> None:
    config = run_config(tmp_path, tensorboard=True)
    train(config, "--save", str(tmp_path / "whole"))
    with mounted(tmp_path / "disk", "8m") as disk:
        run, filler = disk / "run", disk / "filler"
        before_step({6: lambda: fill(filler), 10: filler.unlink})
        output = train(config, "--save", str(run))
        assert output.count("metrics.jsonl cannot be written (No space left on device): training goes on") == 1
        assert output.count("tried again") == 2  # metrics and events
        assert "step_0000008 failed: rank 0: OSError: [Errno 28] No space left on device" in output
        assert "the newest checkpoint is of step 4; training goes on" in output
        assert CheckpointStore(run).steps() == [4, 12]
        assert not list(run.glob(".partial_*"))
        assert curve(run) == curve(tmp_path / "whole")
        assert_same_checkpoint(run, tmp_path / "whole", 12)
        assert scalar_steps(run / "tensorboard") == list(range(1, 13))


def test_a_folder_that_is_removed_is_made_again(tmp_path: Path, before_step) -> None:
    config = run_config(tmp_path, tensorboard=True)
    run = tmp_path / "run"
    before_step({6: lambda: shutil.rmtree(run), 9: lambda: shutil.rmtree(run / "tensorboard")})
    output = train(config)
    assert steps_in(run) == list(range(1, 13))
    assert CheckpointStore(run).steps() == [8, 12]
    assert (run / "config.yaml").is_file()
    assert scalar_steps(run / "tensorboard") == list(range(1, 13))
    assert output.count("was removed") == 4  # metrics, configuration, and the events twice


def test_output_to_a_full_device_does_not_end_a_run(tmp_path: Path) -> None:
    config = run_config(tmp_path, eval_iters=0)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command(config), stdout=full, stderr=full, env=environment(), check=False, timeout=300)
    assert done.returncode == 0
    assert steps_in(tmp_path / "run") == list(range(1, 13))
    assert CheckpointStore(tmp_path / "run").newest() == 12


def test_a_save_folder_that_cannot_be_written_is_three_lines(tmp_path: Path) -> None:
    config = run_config(tmp_path)
    (tmp_path / "file").write_text("")
    output = train(config, "--save", str(tmp_path / "file" / "run"), status=2)
    assert f"error: --save {tmp_path / 'file' / 'run'} cannot be written: Not a directory" in output
    with mounted(tmp_path / "disk", "1m", "ro") as disk:
        output = train(config, "--save", str(disk), status=2)
        assert f"error: --save {disk} cannot be written: Read-only file system" in output
        assert [line[:8] for line in output.splitlines()[-2:]] == ["  rule: ", "  fix:  "]


@pytest.mark.parametrize("knobs", [{}, {"reset_attention_mask": True, "packing": "best-fit"}], ids=["plain", "packed"])
def test_a_read_behind_the_end_of_a_file_is_an_error(tmp_path: Path, before_step, knobs: dict) -> None:
    """No validation comes before it: the threads that read ahead meet it."""
    write_tokens(tmp_path / "data", documents=20_000)
    files = [tmp_path / "data.bin"]
    config = run_config(tmp_path, eval_iters=0, save_interval=1000, train_iters=4000, log_interval=1000, **knobs)
    if knobs:
        train(config, "--train-iters", "1", "--lr-warmup-iters", "0", "--save", str(tmp_path / "first"))
        files = [*tmp_path.glob("*.packing")]
    before_step({3: lambda: [os.truncate(path, 4096) for path in files]})
    output = train(config, status=2)
    assert any(f"error: {path} was cut off under the run" in output for path in files), output


def test_a_command_that_is_not_guarded_names_the_file(tmp_path: Path) -> None:
    write_tokens(tmp_path / "data", documents=3000)
    program = (
        "import os; from steel_megatron.tokens.indexed import IndexedDataset\n"
        f"data = IndexedDataset({str(tmp_path / 'data')!r}); os.truncate(data.prefix + '.bin', 4096); data.tokens.sum()"
    )
    done = subprocess.run(["python", "-c", program], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 2
    assert f"error: {tmp_path / 'data.bin'} was cut off or taken away while it was read\n  rule: " in done.stderr
    assert "  fix:  " in done.stderr


def scalar_steps(folder: Path) -> list[int]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [event.step for event in EventAccumulator(str(folder)).Reload().Scalars("train/loss")]
