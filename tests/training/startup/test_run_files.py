"""What a run's folder holds beside its numbers: written at the start, again when it is gone, and told once if not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.small_disk import fill, mounted
from helpers.small_tokenizer import small_tokenizer
from helpers.tiny_run import MODEL, run_config, train
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointError, RunConfig, StorageError, load_run_config
from steel_megatron.tokenizer.build import build_tokenizer
from steel_megatron.training.output.lock import FolderLock
from steel_megatron.training.output.metrics_rows import read_metrics
from steel_megatron.training.startup.run_files import RunFiles

CONFIG = RunConfig().replace(lr=0.125)
TRAINER: Any = None  # no hook of these looks at it


@pytest.fixture
def files(tmp_path: Path) -> Iterator[RunFiles]:
    tokenizer = build_tokenizer("HuggingFaceTokenizer", str(small_tokenizer(tmp_path / "tokenizer")), None)
    lock = FolderLock(tmp_path / "run")
    yield RunFiles(CONFIG, tmp_path / "run", tokenizer, lock)
    lock.release()


def test_the_configuration_starts_the_run_again_and_the_tokenizer_is_beside_it(files: RunFiles) -> None:
    files.write()
    assert load_run_config(files.folder / "config.yaml") == CONFIG
    copy = build_tokenizer("HuggingFaceTokenizer", str(files.folder / "tokenizer"), None)
    assert files.tokenizer is not None
    assert copy.encode("中文 text") == files.tokenizer.encode("中文 text")
    (files.folder / "tokenizer" / "mine").write_text("stays")
    files.write()
    assert (files.folder / "tokenizer" / "mine").read_text() == "stays"


def test_what_is_removed_under_the_run_is_written_again_and_held_again(files: RunFiles, caplog) -> None:
    files.write()
    files.on_metrics(TRAINER, [])
    assert not caplog.records
    shutil.rmtree(files.folder)
    files.on_metrics(TRAINER, [])
    assert load_run_config(files.folder / "config.yaml") == CONFIG
    assert (files.folder / "tokenizer").is_dir()
    assert caplog.messages == [f"{files.folder} was removed: config.yaml and what goes on are written again"]
    with pytest.raises(CheckpointError, match="in use by process"):
        FolderLock(files.folder)


def test_a_folder_that_another_run_has_begun_in_is_left_to_it(files: RunFiles) -> None:
    files.write()
    shutil.rmtree(files.folder)
    other = FolderLock(files.folder)
    with pytest.raises(CheckpointError, match="in use by process"):
        files.on_metrics(TRAINER, [])
    assert not (files.folder / "config.yaml").exists()
    other.release()


def test_a_disk_that_is_full_is_told_once_and_leaves_no_half_of_a_file(tmp_path: Path, caplog) -> None:
    with mounted(tmp_path / "disk", "100k") as disk:
        lock = FolderLock(disk / "run")
        files = RunFiles(CONFIG, disk / "run", None, lock)
        fill(disk / "filler")
        with pytest.raises(StorageError) as caught:
            files.write()
        assert caught.value.given == f"--save {disk / 'run'} cannot be written: No space left on device"
        assert caught.value.fix == "make room and give the same command again, or give another --save"
        for _ in range(2):
            files.on_metrics(TRAINER, [])
        assert caplog.messages == [f"{caught.value.given}; training goes on"]
        assert [path.name for path in (disk / "run").iterdir()] == [".lock"]
        (disk / "filler").unlink()
        files.on_metrics(TRAINER, [])
        (disk / "run" / "config.yaml").unlink()
        fill(disk / "filler")
        files.on_metrics(TRAINER, [])
        assert caplog.messages[-1] == caplog.messages[0]  # it is another time
        lock.release()


def test_a_run_that_cannot_begin_its_folder_ends_with_three_lines(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "100k") as disk:
        (disk / "run").mkdir()
        fill(disk / "filler")
        output = train(run_config(tmp_path), "--save", str(disk / "run"), status=2)
    error = f"error: --save {disk / 'run'} cannot be written: No space left on device"
    assert output.splitlines()[-3] == error
    assert [line[:8] for line in output.splitlines()[-2:]] == ["  rule: ", "  fix:  "]


def test_a_folder_that_is_read_only_for_a_while_costs_the_checkpoints_of_that_time(tmp_path: Path, before_step) -> None:
    """As a file server's is that comes back: what was to be written meanwhile is written then."""
    run = tmp_path / "run"
    readonly = mounted(run, "100k", "ro")

    def go() -> None:
        readonly.__enter__()

    def come_back() -> None:
        readonly.__exit__(None, None, None)

    before_step({6: go, 10: come_back})
    output = train(run_config(tmp_path, eval_iters=0, tensorboard=True))
    told = [line for line in output.splitlines() if line.startswith(f"--save {run} cannot be written: Read-only")]
    assert len(told) == 1
    assert told[0].endswith("; training goes on")
    assert "step_0000008 failed: rank 0: OSError: [Errno 30] Read-only file system" in output
    assert CheckpointStore(run).steps() == [4, 12]
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl")] == list(range(1, 13))


def test_a_run_without_a_tokenizer_has_no_folder_for_it(tmp_path: Path) -> None:
    train(run_config(tmp_path, train_iters=1, lr_warmup_iters=0, eval_iters=0))
    assert not (tmp_path / "run" / "tokenizer").exists()
    tokenizer = str(small_tokenizer(tmp_path / "tokenizer"))
    knobs = {"model": {**MODEL, "vocab_size": None}, "tokenizer_model": tokenizer}
    train(run_config(tmp_path, train_iters=1, lr_warmup_iters=0, eval_iters=0, **knobs), "--fresh-start")
    assert (tmp_path / "run" / "tokenizer").is_dir()
