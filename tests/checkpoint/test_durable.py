"""What is on the disk before a checkpoint gets its name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from helpers.small_checkpoints import save_steps


def test_every_file_and_folder_is_synced_before_the_name_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after any of these calls loses nothing that counts."""
    events: list[tuple[str, int]] = []  # what was done, to which inode
    fsync, rename = os.fsync, Path.rename

    def recorded_fsync(descriptor: int) -> None:
        fsync(descriptor)
        events.append(("sync", os.fstat(descriptor).st_ino))

    def recorded_rename(path: Path, target: Any) -> Path:
        events.append(("rename", path.stat().st_ino))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "rename", recorded_rename)
    folder = save_steps(tmp_path, 1).folder(1)
    named = events.index(("rename", folder.stat().st_ino))
    synced = [inode for what, inode in events[:named] if what == "sync"]
    assert {path.stat().st_ino for path in folder.iterdir()} <= set(synced)
    assert synced[-1] == folder.stat().st_ino
    assert synced[-2] == (folder / "complete.json").stat().st_ino
    assert events[named + 1] == ("sync", tmp_path.stat().st_ino)
