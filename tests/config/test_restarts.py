"""An error that only the user can mend is said once, however often torchrun starts the run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.config import restarts
from steel_megatron.config.restarts import ERROR_FILE, RESTARTS, failed_for_good, note_final


@pytest.fixture(autouse=True)
def _not_started(monkeypatch):
    monkeypatch.setattr(restarts, "_started", False)


def attempt(folder: Path, number: int, local_rank: int = 0) -> dict[str, str]:
    """As torchrun lays it out."""
    file = folder / f"attempt_{number}" / str(local_rank) / "error.json"
    file.parent.mkdir(parents=True)
    return {ERROR_FILE: str(file), RESTARTS: str(number)}


def test_later_attempts_find_the_note_and_the_record(tmp_path):
    note_final(attempt(tmp_path, 0), "{}")
    again = attempt(tmp_path, 1, local_rank=1)
    assert failed_for_good(again)
    assert Path(again[ERROR_FILE]).read_text() == "{}"
    assert not failed_for_good(attempt(tmp_path / "of another torchrun", 1))


def test_what_fails_later_is_tried_again(tmp_path):
    note_final(attempt(tmp_path, 1))
    assert not failed_for_good(attempt(tmp_path, 2))
    restarts.training_starts()
    note_final(attempt(tmp_path, 0))
    assert not failed_for_good(attempt(tmp_path, 3))


@pytest.mark.parametrize("environment", [{}, {ERROR_FILE: ""}, {ERROR_FILE: "/dev/null"}, {ERROR_FILE: "x/error.json"}])
def test_without_torchruns_files_nothing_is_noted(environment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    note_final(environment)
    assert not failed_for_good(environment)
    assert not list(tmp_path.iterdir())
