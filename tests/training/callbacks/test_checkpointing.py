"""When checkpoints are written, what is in them, and what becomes of one that the file system does not take."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from helpers.curves import assert_same_checkpoint, curve
from helpers.failing_runs import fail_in
from helpers.small_disk import fill, mounted
from helpers.tiny_run import run_config, train
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointConfig, StorageError
from steel_megatron.training.callbacks import checkpointing
from steel_megatron.training.callbacks.checkpointing import Checkpointing


class Disk:
    """Stands for the store: what was saved and pruned, and what fails."""

    def __init__(self, full: bool = False) -> None:
        self.full = full
        self.tried: list[int] = []
        self.saved: list[int] = []
        self.pruned: list[tuple[int | None, int | None, int | None]] = []

    def save(self, step: int, *_: Any) -> None:
        self.tried.append(step)
        if self.full:
            raise StorageError(f"writing checkpoint {step} failed")
        self.saved.append(step)

    def steps(self) -> list[int]:
        return self.saved

    def prune(self, retain: int | None, interval: int | None, saved: int | None = None) -> None:
        self.pruned.append((retain, interval, saved))


class Steps:
    """A run of so many steps, of which the callback sees each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, disk: Disk, total: int = 100, step: int = 0, **knobs: Any):
        monkeypatch.setattr(checkpointing, "saved_facts", lambda trainer: {})
        monkeypatch.setattr(checkpointing.time, "monotonic", lambda: self.now)
        self.now = 1000.0
        self.trainer: Any = SimpleNamespace(
            state=SimpleNamespace(step=step),
            callbacks=[],
            stop_reason="",
            components=SimpleNamespace(
                chunks=[],
                data_parallel=SimpleNamespace(wait_parameters=lambda: None),
                optimizer=SimpleNamespace(slices=dict),
                batch_size=SimpleNamespace(total_steps=total),
                grid=SimpleNamespace(world=SimpleNamespace(rank=0, size=1, group=None)),
            ),
        )
        self.callback = Checkpointing(disk, CheckpointConfig(**knobs))  # type: ignore[arg-type]  # what is used of it
        self.callback.on_start(self.trainer)

    def go(self, step: int, seconds: float = 0.0) -> None:
        self.now += seconds
        self.trainer.state.step = step
        self.callback.on_metrics(self.trainer, [])


def test_what_is_saved_or_loaded_is_not_written_again(monkeypatch):
    disk = Disk()
    steps = Steps(monkeypatch, disk, step=7, save_interval=4)
    steps.callback.on_end(steps.trainer)
    assert disk.tried == []
    for step in range(8, 12):
        steps.go(step)
    assert disk.saved == [8]
    steps.callback.on_end(steps.trainer)
    steps.callback.on_end(steps.trainer)
    assert disk.saved == [8, 11]


def test_minutes_count_from_the_last_checkpoint_or_try(monkeypatch):
    disk = Disk()
    steps = Steps(monkeypatch, disk, save_interval=4, save_interval_in_mins=2)
    steps.go(1, 119)
    assert disk.tried == []
    steps.go(2, 2)
    assert disk.tried == [2]
    steps.go(4, 1)  # the interval's
    steps.go(5, 119)
    assert disk.tried == [2, 4]
    disk.full = True
    steps.go(6, 2)
    steps.go(7, 1)
    assert disk.tried == [2, 4, 6]
    steps.go(9, 120)
    assert disk.tried == [2, 4, 6, 9]
    steps.trainer.stop_reason = "got SIGTERM"
    steps.go(10, 500)
    assert disk.tried == [2, 4, 6, 9]  # the end of the run, which is near, saves


def test_one_that_fails_removes_none_of_those_before(monkeypatch, caplog):
    disk = Disk()
    steps = Steps(monkeypatch, disk, save_interval=4, save_retain=1, save_retain_interval=8)
    steps.go(4)
    disk.full = True
    steps.go(8)
    assert disk.pruned == [(1, 8, 4)]
    assert "the newest checkpoint is of step 4; training goes on" in caplog.text
    with pytest.raises(StorageError, match=r"8 failed; the newest checkpoint is of step 4\n  rule: the run's last"):
        steps.callback.on_end(steps.trainer)


@pytest.mark.parametrize(("strict", "total", "rule"), [(True, 100, "--strict-saves"), (False, 4, "last state is kept")])
def test_the_last_has_to_be_written_and_with_strict_saves_all(monkeypatch, strict, total, rule):
    steps = Steps(monkeypatch, Disk(full=True), total=total, save_interval=4, strict_saves=strict)
    with pytest.raises(StorageError, match=rule) as caught:
        steps.go(4)
    assert "there is no checkpoint yet" in caught.value.given
    assert isinstance(caught.value.__cause__, StorageError)


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    train(run_config(tmp_path, save_interval=2, save_retain=2, save_retain_interval=6))
    assert CheckpointStore(tmp_path / "run").steps() == [6, 10, 12]


def test_facts_are_what_the_design_says(tmp_path):
    config = run_config(tmp_path, train_iters=4)
    train(config)
    facts = json.loads((tmp_path / "run" / "step_0000004" / "facts.json").read_text())
    assert facts["state"] == {"step": 4, "consumed_samples": 32, "consumed_tokens": 512}
    assert facts["config"]["model"]["hidden_size"] == 32
    assert facts["layout"] == {"world": 1, "tp": 1, "pp": 1, "dp": 1}
    assert facts["code_version"].startswith("0.")
    assert facts["phases"]
    assert {"optimizer", "tokenizer_fingerprint"} <= facts.keys()


def test_a_disk_that_stays_full_ends_the_run_and_the_advice_works(tmp_path: Path, before_step) -> None:
    config = run_config(tmp_path, save_retain=2)
    train(config, "--save", str(tmp_path / "whole"))
    with mounted(tmp_path / "disk", "8m") as disk:
        run, filler = disk / "run", disk / "filler"
        before_step({6: lambda: fill(filler)})
        output = train(config, "--save", str(run), status=2)
        assert output.count("the newest checkpoint is of step 4") == 2  # warned of step 8, and the error of step 12
        assert "rule: the run's last state is kept" in output
        assert CheckpointStore(run).newest() == 4
        filler.unlink()
        strict = train(config, "--save", str(run), "--strict-saves", status=2)
        assert "rule: with --strict-saves every checkpoint is written" in strict
        assert CheckpointStore(run).newest() == 4
        before_step({})
        filler.unlink()
        train(config, "--save", str(run))
        assert curve(run) == curve(tmp_path / "whole")
        assert_same_checkpoint(run, tmp_path / "whole", 12)


def test_a_save_that_fails_on_one_rank_is_passed_by_all(tmp_path: Path) -> None:
    config = run_config(tmp_path, eval_iters=0, save_interval=4)
    ends = fail_in("save_once", 1, ["train", "--config", str(config)], tmp_path / "out", hang=False)
    assert [end.status for end in ends] == [0, 0], ends
    text = ends[0].text + ends[1].text
    assert text.count("training goes on, and the next interval tries again") == 1
    assert "rank 1: OSError: [Errno 28] No space left on device" in text
    assert CheckpointStore(tmp_path / "run").steps() == [8, 12]
