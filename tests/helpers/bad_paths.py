"""Paths that lead nowhere good, most of them also for root, whom permissions do not bind."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def make_bad_paths(folder: Path) -> dict[str, str]:
    """What is wrong → a path below ``folder`` with that fault."""
    folder.mkdir()
    (folder / "file").write_text("no such thing\n")
    (folder / "folder").mkdir()
    (folder / "full_folder").mkdir()
    (folder / "full_folder" / "file").write_text("x\n")
    (folder / "dangling").symlink_to(folder / "nowhere" / "at_all")
    (folder / "loop").symlink_to(folder / "other_loop")
    (folder / "other_loop").symlink_to(folder / "loop")
    (folder / "unreadable.jsonl").symlink_to("/proc/self/mem")  # opens, and every read fails
    found = {
        "below a file": folder / "file" / "x",
        "a folder": folder / "full_folder",
        "an empty folder": folder / "folder",
        "a file": folder / "file",
        "nothing": folder / "none" / "at" / "all",
        "a dangling link": folder / "dangling",
        "below a dangling link": folder / "dangling" / "x",
        "a loop": folder / "loop",
        "below a loop": folder / "loop" / "x",
        "a name too long": folder / ("n" * 300),
        "a path too long": folder / "/".join(["n" * 200] * 25),
        "unreadable": folder / "unreadable.jsonl",
        "of the kernel": Path("/proc/no_such_thing/x"),
    }
    return {fault: str(path) for fault, path in found.items()} | {"empty": ""}


def immutable_folder(folder: Path) -> bool:
    """Makes a folder that nobody can write to, root included; False where that cannot be."""
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("chattr") is None:
        return False
    subprocess.run(["chattr", "+i", str(folder)], check=False, capture_output=True)
    try:
        (folder / "try").touch()
    except OSError:
        return True
    (folder / "try").unlink()
    return False


def make_mutable(folder: Path) -> None:
    """Takes :func:`immutable_folder` back."""
    subprocess.run(["chattr", "-i", str(folder)], check=False, capture_output=True)
