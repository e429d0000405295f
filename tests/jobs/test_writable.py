"""Whether something can be written is found out without leaving a trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.jobs.writable import check_file, check_folder


def test_a_file_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("kept")
    check_file(tmp_path / "out")
    check_file(tmp_path / "new" / "folder" / "out")
    assert (tmp_path / "out").read_text() == "kept"
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "out"]


def test_a_folder_that_was_not_there_goes_again(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.rglob("*")) == [tmp_path / "a"]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        check_file(tmp_path)
    (tmp_path / "file").write_text("")
    for check in (check_file, check_folder):
        with pytest.raises(OSError, match="file"):
            check(tmp_path / "file" / "below")
