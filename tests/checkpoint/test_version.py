"""The version that a checkpoint is marked with."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import steel_megatron
from steel_megatron.checkpoint import version

SOURCE = Path(steel_megatron.__file__).parent


def told_by(folder: Path) -> str:
    """code_version() of a copy of the package below a folder."""
    for part in ("", "checkpoint"):
        (folder / "steel_megatron" / part).mkdir()
        shutil.copy(SOURCE / part / "__init__.py", folder / "steel_megatron" / part)
    shutil.copy(SOURCE / "checkpoint" / "version.py", folder / "steel_megatron" / "checkpoint")
    return read_version(folder)


def read_version(folder: Path) -> str:
    code = "from steel_megatron.checkpoint.version import code_version; print(code_version())"
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_installed_it_is_the_packages_version(tmp_path: Path) -> None:
    assert told_by(tmp_path) == steel_megatron.__version__


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_in_a_checkout_it_names_the_commit_and_changes(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    git("init", "-q")
    told_by(tmp_path)
    git("add", "-A")
    git("commit", "-qm", "x")
    clean = f"{steel_megatron.__version__}+g{git('rev-parse', '--short', 'HEAD')}"
    (tmp_path / "notes.txt").write_text("not tracked, so no change of the code")
    assert read_version(tmp_path) == clean
    (tmp_path / "steel_megatron" / "__init__.py").open("a").write("\n")
    assert read_version(tmp_path) == f"{clean}, changed"


def test_without_git_it_is_the_packages_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    version.code_version.cache_clear()
    assert version.code_version() == steel_megatron.__version__
    version.code_version.cache_clear()
