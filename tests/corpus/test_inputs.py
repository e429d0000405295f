from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.config import DataError
from steel_megatron.corpus.inputs import find_inputs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.md.gz", "c.svg", "deep/er/d.txt", ".hidden.txt", ".git/e.txt", "x.manifest.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_folder_sorted_and_by_suffix(tree: Path) -> None:
    assert [file.name for file in find_inputs([tree])] == ["a.md.gz", "b.txt", "c.svg", "deep/er/d.txt"]
    assert [file.name for file in find_inputs([tree], (".txt", ".md"))] == ["a.md.gz", "b.txt", "deep/er/d.txt"]


def test_names_are_below_what_was_given(tree: Path) -> None:
    assert [file.name for file in find_inputs([tree / "deep" / "er" / "d.txt"])] == ["d.txt"]
    assert [file.name for file in find_inputs([f"{tree}/**/*.txt"])] == ["b.txt", "deep/er/d.txt"]
    assert [file.name for file in find_inputs([f"{tree}/deep/*/d.t?t"])] == ["er/d.txt"]


def test_each_file_once_in_the_order_given(tree: Path) -> None:
    found = find_inputs([tree / "deep", tree / "b.txt", tree])
    assert [Path(file.location).name for file in found] == ["d.txt", "b.txt", "a.md.gz", "c.svg"]


def test_names_stay_unique(tree: Path) -> None:
    for part in ("en", "zh"):
        (tree / part).mkdir()
        (tree / part / "same.txt").write_text(part)
    assert [file.name for file in find_inputs([tree / "en" / "same.txt", tree / "zh"])] == [
        "en/same.txt",
        "zh/same.txt",
    ]


@pytest.mark.parametrize("pattern", ["nowhere.txt", "none*.txt", "empty"])
def test_nothing_there_is_an_error(tree: Path, pattern: str) -> None:
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match="no input file at"):
        find_inputs([tree / pattern])
