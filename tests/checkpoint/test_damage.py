"""A checkpoint that is not what was written is named, and the one before it is used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch.distributed as dist

from helpers.processes import run_processes
from helpers.small_checkpoints import assert_holds, blocks_at, save_steps
from steel_megatron.checkpoint.store import CheckpointStore

SHARD, METADATA, FACTS, MARKER, RANDOM = "__0_0.distcp", ".metadata", "facts.json", "complete.json", "random_00000.bin"


def flip(path: Path, at: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at < 0 else at] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def make_unreadable(path: Path) -> None:
    """For root too: a link to itself."""
    path.unlink()
    path.symlink_to(path)


def edit_marker(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


DAMAGE = [
    *[(name, flip, f"{name} is damaged: hash") for name in (SHARD, METADATA, FACTS, RANDOM)],
    *[(name, truncate, f"{name} has ") for name in (SHARD, METADATA, FACTS, RANDOM)],
    *[(name, append, f"{name} has ") for name in (SHARD, METADATA, FACTS, RANDOM)],
    *[(name, Path.unlink, f"{name} is missing") for name in (SHARD, METADATA, FACTS, RANDOM)],
    *[(name, make_unreadable, f"{name} cannot be read") for name in (SHARD, METADATA, FACTS, RANDOM)],
    (MARKER, lambda path: path.write_bytes(b""), f"{MARKER} cannot be read"),
    (MARKER, lambda path: path.write_bytes(os.urandom(300) + b"\xff"), f"{MARKER} cannot be read"),
    (MARKER, truncate, None),
    (MARKER, lambda path: path.write_text("[1, 2]"), "it lists no files"),
    (MARKER, lambda path: path.write_text('{"files": {}}'), "it does not list .metadata"),
    (MARKER, lambda path: path.write_text('{"files": {"a": 5}}'), "no size and hash of a"),
    (MARKER, edit_marker(lambda content: content["files"].pop(FACTS)), f"it does not list {FACTS}"),
    (MARKER, edit_marker(lambda content: content["files"][SHARD].pop("xxh3")), f"no size and hash of {SHARD}"),
]


@pytest.mark.parametrize(("name", "damage", "told"), DAMAGE)
def test_damage_is_named_and_the_checkpoint_before_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, damage: Callable[[Path], object], told: str | None
) -> None:
    store = save_steps(tmp_path, 1, 2)
    damage(store.folder(2) / name)
    if told is None:  # the last byte of the marker is a line's end
        assert store.newest() == 2
        return
    assert store.newest() == 1
    assert f"{store.folder(2)} is not used" in caplog.text
    assert told in caplog.text
    assert_holds(store, 1)


def test_a_flipped_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    """Every third byte of every file of a checkpoint; in the marker, what JSON does not heed may change."""
    store = save_steps(tmp_path, 1)
    for path in sorted(store.folder(1).iterdir()):
        if path.name == MARKER:
            continue
        for at in range(0, path.stat().st_size, 3 if path.stat().st_size < 2000 else 97):
            flip(path, at)
            assert store.verify(1), (path.name, at)
            flip(path, at)
    assert store.verify(1) == []


def test_without_its_marker_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    store = save_steps(tmp_path, 1, 2)
    (store.folder(2) / MARKER).unlink()
    assert store.steps() == [1]
    assert store.newest() == 1
    assert "without complete.json: step_0000002" in store.describe()


@pytest.mark.parametrize("placed", [shutil.move, shutil.copytree])
def test_a_checkpoint_under_the_name_of_another_step_is_not_used(tmp_path: Path, placed: Callable) -> None:
    store = save_steps(tmp_path, 1)
    for step in (2, 3):
        store.save(step, blocks_at(step), {"state": {"step": step}})
    placed(store.folder(3), store.folder(20))
    assert store.verify(20) == ["it is step 3 by its facts.json: renamed or copied"]
    assert store.newest_and_faults() == (2 if placed is shutil.move else 3, {20: store.verify(20)[0]})
    if placed is shutil.move:  # and back
        store.folder(20).rename(store.folder(3))
        assert store.newest_and_faults() == (3, {})


def test_with_all_damaged_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = save_steps(tmp_path, 1, 2, 3)
    for step in (1, 2, 3):
        truncate(store.folder(step) / SHARD)
    assert store.newest() is None
    assert caplog.text.count("is not used") == 3


def test_a_damaged_one_is_replaced_when_its_step_is_saved_again(tmp_path: Path) -> None:
    store = save_steps(tmp_path, 1, 2)
    flip(store.folder(2) / SHARD)
    save_steps(tmp_path, 2)
    assert_holds(store, 2)
    assert sorted(os.listdir(tmp_path)) == ["step_0000001", "step_0000002"]


def find_among(root: Path) -> list[tuple[int | None, list[str]]]:
    """What each store below the root says."""
    stores = [CheckpointStore(folder) for folder in sorted(root.iterdir())]
    return [(store.newest(), store.verify(2)) for store in stores]


def save_three_files(root: Path) -> None:
    rank, ranks = dist.get_rank(), dist.get_world_size()
    for step in (1, 2):
        CheckpointStore(root).save(step, blocks_at(step, rank, ranks), {"step": step}, b"random")


def test_all_ranks_agree_whoever_reads_the_damaged_file(tmp_path: Path) -> None:
    run_processes(save_three_files, 3, tmp_path / "0")
    names = sorted(path.name for path in (tmp_path / "0" / "step_0000002").iterdir())
    assert {"__0_0.distcp", "__1_0.distcp", "__2_0.distcp"} <= set(names)
    for number, name in enumerate(names, start=1):
        shutil.copytree(tmp_path / "0", tmp_path / str(number))
        flip(tmp_path / str(number) / "step_0000002" / name)
    found = run_processes(find_among, 3, tmp_path)
    assert found[0] == found[1] == found[2]
    assert found[0][0] == (2, [])
    for name, (newest, problems) in zip(names, found[0][1:], strict=True):
        assert newest == 1
        assert len(problems) == 1
        assert name == MARKER or problems[0].startswith(f"{name} is damaged")
