"""A recipe as data-juicer gets it, and what is refused before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.cleaning.data_juicer import data_juicer_recipe, find_data_juicer, run_data_juicer
from steel_megatron.corpus.cleaning.recipe import Recipe

RECIPE = Recipe("r.yaml", (), content={"process": [{"a": None}], "np": 9, "dataset_path": "old", "project_name": "own"})


def test_paths_and_workers_are_put_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = data_juicer_recipe(RECIPE, ["in.jsonl"], Path("out.jsonl"), 4, None)
    assert content == {
        "process": [{"a": None}],
        "project_name": "own",
        "np": 4,
        "dataset": {"configs": [{"type": "local", "path": str(tmp_path / "in.jsonl")}]},
        "export_path": str(tmp_path / "out.jsonl"),
    }
    on_ray = data_juicer_recipe(RECIPE, ["in.jsonl"], Path("out.jsonl"), 4, "auto")
    assert (on_ray["executor_type"], on_ray["ray_address"]) == ("ray", "auto")
    assert RECIPE.content["np"] == 9


def test_what_is_refused(tmp_path: Path) -> None:
    for environment in ("", str(tmp_path)):
        with pytest.raises(ConfigError, match="no bin/dj-process"):
            find_data_juicer(environment)
    program = tmp_path / "bin" / "dj-process"
    program.parent.mkdir()
    program.write_text("")
    assert find_data_juicer(str(tmp_path)) == program
    (tmp_path / "out.jsonl").write_text("kept")
    with pytest.raises(DataError, match="is there already"):
        run_data_juicer(RECIPE, [], tmp_path / "out.jsonl", environment=str(tmp_path))
    assert (tmp_path / "out.jsonl").read_text() == "kept"
