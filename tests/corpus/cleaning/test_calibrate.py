"""steel clean --calibrate: quantiles of what filters measure, and limits that keep what they promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers.corpus_files import read_json_lines, write_json_lines
from steel_megatron.cli.main import main
from steel_megatron.config import DataError
from steel_megatron.corpus.cleaning import clean, read_recipe
from steel_megatron.corpus.cleaning.calibrate import ALL, calibrate

RECIPE = """process:
  - clean_links_mapper:
  - text_length_filter: {min_len: 50, max_len: 60}
  - special_characters_filter: {max_ratio: 0.0}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """400 records of 1 to 400 letters, every fourth of another source, and one without a text."""
    records = [{"text": "x" * size, "source": "b" if size % 4 == 0 else "a"} for size in range(1, 401)]
    return write_json_lines(tmp_path / "in.jsonl", [*records, {"id": "none"}])


def test_quantiles_and_limits(recipe: Path, texts: Path) -> None:
    found = calibrate(read_recipe(str(recipe)), [str(texts)], keep=0.9)
    assert found.unread == 1
    length, special = found.measured
    assert sorted(length.values) == list(range(1, 401))
    assert length.names == ("min_len", "max_len")
    assert length.limits == (50, 60)
    assert length.dropped.sum() == 400 - 11
    low, high = length.proposed
    assert low is not None and 38 <= low <= 41  # noqa: PT018 (a limit that is there and right)
    assert high is not None and 360 <= high <= 363  # noqa: PT018
    assert special.proposed == (0.0, 0.0)
    assert found.kept()[ALL] == (11, 400)
    kept, of = found.kept(proposed=True)["b"]
    assert of == 100
    assert kept >= 78


def test_the_proposed_recipe_keeps_what_was_promised(recipe: Path, texts: Path, tmp_path: Path, capsys) -> None:
    proposed = tmp_path / "proposed.yaml"
    table = ["clean", "--calibrate", "--recipe", str(recipe), "--input", str(texts)]
    assert main([*table, "--keep", "0.95", "--output", str(proposed)]) == 0
    out = capsys.readouterr().out
    assert "text_length_filter" in out
    assert "min_len 50, max_len 60 (97.2%)" in out
    assert "source b: 2 of 100 kept" in out or "source b: 3 of 100 kept" in out
    assert "1 records gave no text" in out
    steps = yaml.safe_load(proposed.read_text())["process"]
    assert [next(iter(step)) for step in steps] == [
        *("clean_links_mapper", "text_length_filter", "special_characters_filter"),
    ]
    clean(read_recipe(str(proposed)), [texts], tmp_path / "out.jsonl")
    assert len(read_json_lines(tmp_path / "out.jsonl")) >= 0.9 * 400
    assert main([*table, "--output", str(proposed)]) == 2
    assert main([*table, "--output", str(proposed), "--overwrite"]) == 0
    assert main([*table, "--output", str(tmp_path / "x.jsonl")]) == 2


def test_a_sample_is_of_all_places(recipe: Path, tmp_path: Path) -> None:
    records = [{"text": "y" * 40, "source": str(at // 500)} for at in range(5000)]
    path = write_json_lines(tmp_path / "large.jsonl", records)
    first, again = (calibrate(read_recipe(str(recipe)), [str(path)], records=200) for _ in range(2))
    assert len(first.sources) == 200
    assert set(first.sources) == {str(tenth) for tenth in range(10)}
    assert list(first.sources) == list(again.sources)
    assert np.array_equal(first.measured[0].values, again.measured[0].values)


def test_records_without_a_text_are_an_error(recipe: Path, tmp_path: Path) -> None:
    path = write_json_lines(tmp_path / "in.jsonl", [{"content": "x"}])
    with pytest.raises(DataError, match="no record of 1 gives a text"):
        calibrate(read_recipe(str(recipe)), [str(path)])
