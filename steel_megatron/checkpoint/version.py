"""Which code wrote a checkpoint."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from steel_megatron import __version__


@functools.cache
def code_version() -> str:
    """The package's version, and the commit where it runs from a git checkout ("0.1.0+g1a2b3c4, changed")."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return __version__
    commit = _git(folder, "rev-parse", "--short", "HEAD")
    if not commit:
        return __version__
    changed = ", changed" if _git(folder, "status", "--porcelain", "--untracked-files=no") else ""
    return f"{__version__}+g{commit}{changed}"


def _git(folder: Path, *arguments: str) -> str:
    try:
        result = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
