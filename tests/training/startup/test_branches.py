"""Going back: what came later is set aside, every restart goes on with the new branch, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from helpers.curves import assert_same_checkpoint, curve
from helpers.processes import run_processes
from helpers.small_checkpoints import save_steps
from helpers.tiny_run import run_config, start, train, wait_for_step
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointConfig, CheckpointError, load_run_config
from steel_megatron.training.output.lock import FolderLock
from steel_megatron.training.output.metrics_rows import read_metrics
from steel_megatron.training.startup.branches import BACK, Branches, Leaving
from steel_megatron.training.startup.start import find_start

ASIDE = "set_aside/after_step_0000004"


def steps_of(folder: Path) -> list[int]:
    return CheckpointStore(folder).steps()


def metric_steps(folder: Path) -> list[int]:
    return [row["step"] for row in read_metrics(folder / "metrics.jsonl")]


def files_of(run: Path) -> dict[Path, bytes]:
    """What a run's folder holds, but for the lock."""
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != ".lock"}


def damage(run: Path, step: int) -> None:
    """Changes a bit of a checkpoint's tensors."""
    shard = next((run / f"step_{step:07d}").glob("*.distcp"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    train(run_config(folder, eval_iters=0))
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    """A run with checkpoints of steps 4, 8 and 12; beside it the file to start it with."""
    run_config(tmp_path, eval_iters=0)
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_going_back_sets_aside_and_every_restart_goes_on_with_the_new_branch(run):
    config = run.with_name("run.yaml")
    other = ["--lr", "1e-5", "--min-lr", "1e-6", "--save-interval", "2", "--save-retain", "2"]
    before = curve(run)
    said = train(config, "--ckpt-step", "4", *other, "--exit-interval", "6")
    assert f"back to step 4, from which the run goes on; set aside in {run / ASIDE}: step_0000008, step_0000012" in said
    assert (steps_of(run), steps_of(run / ASIDE)) == ([4, 6], [8, 12])
    assert (metric_steps(run), curve(run / ASIDE)) == ([1, 2, 3, 4, 5, 6], before)
    assert CheckpointStore(run / ASIDE).verify(12) == []
    for flags in (["--ckpt-step", "4"], [], ["--load", str(run)], ["--load", str(run), "--ckpt-step", "4"]):
        step = steps_of(run)[-1]
        said = train(config, *flags, *other, "--train-iters", "20", "--exit-interval", "2")
        assert f"continuing {run}, step {step}" in said
        assert "set aside" not in said
        assert ("to do it once more" in said) == ("--ckpt-step" in flags)
    assert (steps_of(run), metric_steps(run)) == ([12, 14], list(range(1, 15)))
    kept = load_run_config(run / "config.yaml").checkpoint
    assert (kept.ckpt_step, kept.save_retain) == (None, 2)  # it starts another run as well
    assert steps_of(run / ASIDE) == [8, 12]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_after_going_back_a_run_is_bitwise_one_that_never_went_further(tmp_path, processes):
    config = run_config(tmp_path, hidden_dropout=0.1)
    train(config, "--save", str(tmp_path / "straight"), processes=processes)
    cut = ["--save", str(tmp_path / "cut")]
    train(config, *cut, "--exit-interval", "4", processes=processes)
    train(config, *cut, "--lr", "0.1", "--exit-interval", "11", processes=processes)
    assert curve(tmp_path / "cut")[4:] != curve(tmp_path / "straight")[4:11]
    said = train(config, *cut, "--ckpt-step", "4", processes=processes)
    assert said.count("back to step 4") == 1
    assert curve(tmp_path / "cut") == curve(tmp_path / "straight")
    assert_same_checkpoint(tmp_path / "straight", tmp_path / "cut", 12)
    assert steps_of(tmp_path / "cut" / ASIDE) == [8, 11]


def test_once_more_to_the_same_step_and_then_further_back(run):
    config = run.with_name("run.yaml")
    (run / "set_aside" / "after_step_0000004").mkdir(parents=True)
    (run / "set_aside" / "after_step_0000004" / "notes").write_text("")  # whatever it is, it stays as it is
    train(config, "--ckpt-step", "8")
    train(config, "--ckpt-step", "4", "--exit-interval", "6")
    train(config, "--ckpt-step", "4", "--branch", "second", "--exit-interval", "7")
    assert (steps_of(run), metric_steps(run)) == ([4, 7], list(range(1, 8)))
    said = train(config, "--ckpt-step", "4", "--branch", "second", "--exit-interval", "8")
    assert f"continuing {run}, step 7" in said
    names = sorted(path.name for path in (run / "set_aside").iterdir())
    assert names == [
        *("after_step_0000004", "after_step_0000004_2", "after_step_0000004_3", "after_step_0000008"),
    ]
    assert [steps_of(run / "set_aside" / name) for name in names] == [[], [8, 12], [6], [12]]
    assert [entry.step for entry in Branches(run).entries()] == [8, 4, 4]
    said = train(config, "--ckpt-step", "6", status=2)
    assert f"--load {run / 'set_aside' / 'after_step_0000004_3'} --save ANOTHER" in said
    # What was left is a run's folder: it can be gone on with elsewhere.
    aside = run / "set_aside" / "after_step_0000004_2"
    said = train(config, "--load", str(aside), "--save", str(run.with_name("elsewhere")), "--train-iters", "13")
    assert f"continuing {aside}, step 12" in said


def test_killed_before_the_first_save_of_the_new_branch(run):
    config = run.with_name("run.yaml")
    process = start(config, "--ckpt-step", "4", "--save-interval", "1000", "--train-iters", "100000")
    # The old metrics, which reach step 12, are cut before the new ones come.
    wait_for_step(run, 13, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    said = train(config)
    assert f"continuing {run}, step 4" in said
    assert (steps_of(run), steps_of(run / ASIDE), metric_steps(run)) == ([4, 8, 12], [8, 12], list(range(1, 13)))


def test_killed_while_setting_aside_the_next_start_ends_it(tmp_path, monkeypatch):
    """Cut off before each renaming in turn: of the list of branches, two copies, two checkpoints, the list again."""
    for cut in range(6):
        run = tmp_path / str(cut)
        save_steps(run, 4, 8, 12)
        for name in ("metrics.jsonl", "config.yaml"):
            (run / name).write_text(name)
        left = iter(range(cut))

        def rename(*names, really=os.replace, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return really(*names)

        monkeypatch.setattr(Branches, "_measured_after", lambda self, step: True)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", rename)
            patch.setattr(os, "rename", rename)
            with pytest.raises(KeyboardInterrupt):
                Branches(run).leave(Leaving(BACK, 4, ("step_0000008", "step_0000012")), run / "tensorboard")
        finished = [Branches(run).finish(run / "tensorboard") is not None for _ in range(2)]
        assert finished == [cut > 0, False]
        entries = Branches(run).entries()
        assert [entry.finished for entry in entries] == [True] * (cut > 0)
        assert steps_of(run) == ([4] if cut else [4, 8, 12])
        if cut:
            assert steps_of(run / ASIDE) == [8, 12]
            assert CheckpointStore(run / ASIDE).verify(12) == []
            assert [(run / ASIDE / name).read_text() for name in ("metrics.jsonl", "config.yaml")] == [
                "metrics.jsonl",
                "config.yaml",
            ]


def test_a_step_that_is_not_there_or_damaged_is_refused_and_nothing_moves(run):
    config = run.with_name("run.yaml")
    said = train(config, "--ckpt-step", "5", status=2)
    assert f"--ckpt-step 5: {run} holds no checkpoint of that step" in said
    assert "steps 4, 8, 12" in said
    damage(run, 8)
    said = train(config, "--ckpt-step", "8", status=2)
    assert "step_0000008 is damaged" in said
    said = train(config, "--ckpt-step", "4", "--norm-epsilon", "1e-3", status=2)  # refused later, for another reason
    assert "norm_epsilon" in said
    lock = FolderLock(run)
    try:
        assert "is in use" in train(config, "--ckpt-step", "4", status=2)
    finally:
        lock.release()
    said = train(config, "--save", str(run.with_name("new")), "--ckpt-step", "4", status=2)
    assert "steps none" in said
    (run / "set_aside").write_text("")
    assert "not a directory" in train(config, "--ckpt-step", "4", status=2).lower()
    (run / "set_aside").unlink()
    assert steps_of(run) == [4, 8, 12]
    assert not (run / "branches.json").exists()
    assert metric_steps(run) == list(range(1, 13))


def test_damaged_checkpoints_that_are_passed_over_do_not_crowd_out_new_ones(run):
    """Else the damaged ones of higher steps would be kept, and those just written removed."""
    damage(run, 12)
    (run / "step_0000008" / "complete.json").unlink()
    flags = ["--save-interval", "1", "--save-retain", "1", "--train-iters", "6"]
    said = train(run.with_name("run.yaml"), *flags)
    assert "step_0000008 is not used: complete.json is missing" in said
    assert steps_of(run) == [6]
    kept = run / "set_aside" / "damaged_after_step_0000004"
    assert sorted(path.name for path in kept.iterdir()) == ["metrics.jsonl", "step_0000008", "step_0000012"]
    assert metric_steps(kept) == list(range(1, 13))


def test_a_renamed_checkpoint_is_not_the_step_of_its_name(run):
    """Else the run would go on from step 12 at every start, and its own saves would never be the newest."""
    (run / "step_0000012").rename(run / "step_0000020")
    said = train(run.with_name("run.yaml"), "--ckpt-step", "20", status=2)
    assert "step_0000020 is damaged: it is step 12 by its facts.json" in said
    said = train(run.with_name("run.yaml"), "--exit-interval", "9")
    assert "step_0000020 is not used: it is step 12 by its facts.json" in said
    assert f"continuing {run}, step 8" in said
    assert (steps_of(run), metric_steps(run)) == ([4, 8, 9], list(range(1, 10)))
    assert steps_of(run / "set_aside" / "damaged_after_step_0000008") == [20]


@pytest.mark.parametrize(
    "flags",
    [
        ["--ckpt-step", "8", "--train-samples", "40"],
        ["--ckpt-step", "8", "--train-iters", "8"],
        ["--fresh-start", "--train-samples", "7", "--lr-decay-samples", "96"],
        ["--train-samples", "40"],
    ],
    ids=" ".join,
)
def test_with_nothing_to_train_nothing_is_set_aside(run, flags):
    config = run_config(run.parent, eval_iters=0, train_iters=None, lr_warmup_iters=0, train_samples=96)
    if len(flags) == 2:
        damage(run, 12)  # would be set aside as well
    if "--train-iters" in flags:
        config = run_config(run.parent, eval_iters=0, lr_warmup_iters=0)
    before = files_of(run)
    said = train(config, *flags)
    assert ("nothing to train" if "--fresh-start" in flags else "the run is complete: step 8, 64 samples") in said
    assert "nothing is set aside" in said
    assert "set aside in" not in said
    assert files_of(run) == before


def test_nothing_whole_is_refused_until_a_fresh_start_is_asked_for(run):
    config = run.with_name("run.yaml")
    damage(run, 4)
    (run / "step_0000008" / "facts.json").unlink()
    shard = next((run / "step_0000012").glob("*.distcp"))
    shard.unlink()
    shard.symlink_to(shard)  # reading it is an error of the system's
    before = (run / "metrics.jsonl").read_bytes()
    for flags in ([], ["--load", str(run)]):
        said = train(config, *flags, status=2)
        assert f"no checkpoint in {run} is whole" in said
        faults = [line for line in said.splitlines() if line.startswith("  step_")]
        assert [fault.split(":")[0].strip() for fault in faults] == ["step_0000004", "step_0000008", "step_0000012"]
        assert "facts.json is missing" in faults[1]
        assert "cannot be read" in faults[2]
    assert (run / "metrics.jsonl").read_bytes() == before
    said = train(config, "--fresh-start", "--exit-interval", "6")
    assert f"begun anew; set aside in {run / 'set_aside' / 'before_fresh_start'}" in said
    assert (steps_of(run), metric_steps(run)) == ([4, 6], list(range(1, 7)))
    assert metric_steps(run / "set_aside" / "before_fresh_start") == list(range(1, 13))
    said = train(config, "--fresh-start")  # the same command after a stop
    assert f"continuing {run}, step 6" in said
    said = train(config, "--fresh-start", "--branch", "third", "--exit-interval", "2")
    assert (steps_of(run), metric_steps(run)) == ([2], [1, 2])
    assert steps_of(run / "set_aside" / "before_fresh_start_2") == [4, 6, 8, 12]


def test_a_run_is_not_begun_in_the_folder_of_its_own_weights(run):
    config = run.with_name("run.yaml")
    before = (run / "metrics.jsonl").read_bytes()
    other_name = run.with_name("link")
    other_name.symlink_to(run)
    for flags in (["--load", str(other_name), "--finetune"], ["--pretrained-checkpoint", str(run / ".." / "run")]):
        said = train(config, *flags, status=2)
        assert "name one folder" in said
        assert "--save ANOTHER" in said
        assert "--ckpt-step N" in said
    assert (run / "metrics.jsonl").read_bytes() == before
    elsewhere = ["--load", str(run), "--finetune", "--save", str(run.with_name("tuned"))]
    train(config, *elsewhere, "--exit-interval", "3")
    said = train(config, *elsewhere, "--exit-interval", "5")  # begun, stopped, gone on
    assert metric_steps(run.with_name("tuned")) == [1, 2, 3, 4, 5]
    assert "is continued from them" in said


def test_a_step_of_another_folder_is_not_one_of_the_run(run):
    config, second = run.with_name("run.yaml"), run.with_name("second")
    flags = ["--load", str(run), "--ckpt-step", "4", "--save", str(second), "--save-interval", "2"]
    train(config, *flags, "--exit-interval", "6")
    assert (steps_of(second), metric_steps(second)) == ([6], [5, 6])
    said = train(config, *flags, "--exit-interval", "8")
    assert f"{run}, step 4, is not used" in said
    assert steps_of(second) == [6, 8]
    assert not (second / "set_aside").exists()
    said = train(config, "--save", str(second), "--ckpt-step", "6", "--exit-interval", "7")
    assert (steps_of(second), steps_of(second / "set_aside" / "after_step_0000006")) == ([6, 7], [8])


def test_flags_without_a_meaning_are_refused(tmp_path):
    config = run_config(tmp_path)
    for flags, named in (
        (["--branch", "one"], "--branch one alone"),
        (["--fresh-start", "--ckpt-step", "4"], "--fresh-start"),
        (["--fresh-start", "--load", str(tmp_path), "--save", str(tmp_path)], "--fresh-start"),
    ):
        assert named in train(config, *flags, status=2)
    assert not (tmp_path / "run").exists()


def test_tensorboard_shows_each_branch_where_it_is(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config, run = run_config(tmp_path, tensorboard=True, eval_iters=0), tmp_path / "run"
    train(config)
    (run / "tensorboard" / "another_run").mkdir()  # is none of ours
    train(config, "--ckpt-step", "4", "--lr", "0.1", "--exit-interval", "6")
    train(config, "--fresh-start", "--exit-interval", "2")
    for folder in (run, run / ASIDE, run / "set_aside" / "before_fresh_start"):
        shown = EventAccumulator(str(folder / "tensorboard")).Reload().Scalars("train/loss")
        rows = read_metrics(folder / "metrics.jsonl")
        assert [event.step for event in shown] == [row["step"] for row in rows]
        assert [event.value for event in shown] == pytest.approx([row["loss"] for row in rows])
        assert (folder / "tensorboard" / "another_run").exists() == (folder == run)


def _starts_of(folder: str) -> tuple[int, list[int]]:
    """What this rank would start from, where only rank 0 sees the checkpoints' names."""
    if int(os.environ["RANK"]) > 0:
        CheckpointStore.named_steps = lambda self: []  # type: ignore[method-assign]
        Branches.entries = lambda self: []  # type: ignore[method-assign]
    back = find_start(CheckpointConfig(save=folder, ckpt_step=4))
    assert back.leaving is not None
    with pytest.raises(CheckpointError, match="no checkpoint of that step"):
        find_start(CheckpointConfig(save=folder, ckpt_step=5))
    return back.step, [find_start(CheckpointConfig(save=folder)).step, len(back.leaving.later)]


def test_all_ranks_decide_on_the_word_of_rank_0(run):
    """As on a shared file system that shows a folder's names late."""
    assert run_processes(_starts_of, 2, str(run)) == [(4, [12, 2])] * 2


def test_a_list_of_branches_that_cannot_be_read_is_named(run):
    (run / "branches.json").write_text(json.dumps([{"step": 4}]))
    said = train(run.with_name("run.yaml"), status=2)
    assert "branches.json cannot be read" in said
    assert "remove the file" in said
