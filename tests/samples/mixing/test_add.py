"""A phases file gets its new content in one step, or stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.samples.mixing.add import replace_when_valid, with_phase

TEXT = "- sources:\n    web: {path: web, weight: 1}  # kept\n"


def test_comments_stay_and_the_phase_is_added_behind(tmp_path: Path) -> None:
    added = with_phase(TEXT, tmp_path / "p.yaml", {"from": 9, "sources": {"web": 2}}, 16, 100)
    assert added == TEXT + "- from: 9\n  sources: {web: 2}\n"
    with pytest.raises(ConfigError, match="has no path"):
        with_phase(TEXT, tmp_path / "p.yaml", {"from": 9, "sources": {"wiki": 2}}, 16, 100)


def test_a_file_changes_only_when_the_check_passes(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("old")
    path.chmod(0o640)
    seen: list[str] = []

    def refuse(candidate: Path) -> None:
        seen.append(candidate.read_text())
        raise KeyError("no")

    with pytest.raises(KeyError):
        replace_when_valid(path, "new", refuse)
    replace_when_valid(path, "new", lambda candidate: None, replace=False)
    assert (path.read_text(), seen) == ("old", ["new"])
    replace_when_valid(path, "new", lambda candidate: None)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [path]
