"""Data that changes while a run goes: what is looked at and when, what ends the run, and what is saved before."""

from __future__ import annotations

import os
import re
from pathlib import Path
from unittest.mock import ANY

import pytest
import yaml

from helpers.failing_runs import fail_in
from helpers.tiny_run import run_config, train, write_tokens
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.training.callbacks import data_files


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def replace(path: Path) -> None:
    path.with_name("other").write_bytes(path.read_bytes())
    os.replace(path.with_name("other"), path)


def write_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\1" * 200)
    os.utime(path, ns=(1, 1))


FAULTS = {
    "cut off": cut,
    "replaced by another file": replace,
    "removed": lambda path: path.unlink(),
    "written to": write_over,
}


@pytest.mark.parametrize("suffix", ["bin", "idx"])
@pytest.mark.parametrize("said", FAULTS)
def test_data_that_changes_under_a_run_is_named(tmp_path: Path, before_step, said: str, suffix: str) -> None:
    path = tmp_path / f"data.{suffix}"
    before_step({6: lambda: FAULTS[said](path)})
    output = train(run_config(tmp_path), status=2)
    error = output[output.index("error:") :]
    assert f"{path} " in error
    assert f"{said} under the run" in error
    assert "fix:  bring the file back as it was" in error
    kept = said in ("removed", "replaced by another file")  # then what was read is good, and the last step is saved
    assert CheckpointStore(tmp_path / "run").newest() == (9 if kept else 8 if said == "written to" else ANY)


def test_what_is_only_touched_goes_on(tmp_path: Path, before_step) -> None:
    before_step({6: lambda: os.utime(tmp_path / "data.bin", ns=(1, 1))})
    train(run_config(tmp_path))


def test_a_rank_whose_data_is_gone_ends_all(tmp_path: Path) -> None:
    config = run_config(tmp_path)
    ends = fail_in("data", 1, ["train", "--config", str(config)], tmp_path / "out", hang=False)
    assert ends[1].status == 2, ends
    assert re.search(r"data\.(bin|idx) was removed under the run", ends[1].text)
    assert ends[0].status != 0


@pytest.mark.parametrize("step", [11, 12])
def test_what_is_removed_when_the_run_is_done_is_no_error(tmp_path: Path, before_step, step: int) -> None:
    """All of it was read; a longer run is told when it starts."""
    before_step({step: lambda: (tmp_path / "data.bin").unlink()})
    output = train(run_config(tmp_path, save_interval=11))
    assert "data.bin was removed under the run (No such file or directory); the run has read all" in output
    assert CheckpointStore(tmp_path / "run").newest() == 12


def test_it_is_looked_at_between_the_intervals_as_well(tmp_path: Path, before_step, monkeypatch) -> None:
    knobs = {"eval_interval": 1000, "save_interval": 1000}
    before_step({6: lambda: (tmp_path / "data.bin").unlink()})
    train(run_config(tmp_path, **knobs))  # the last step alone has looked, and needs no more
    write_tokens(tmp_path / "data")
    monkeypatch.setattr(data_files, "SECONDS", 0.0)
    train(run_config(tmp_path, **knobs), "--fresh-start", status=2)
    assert CheckpointStore(tmp_path / "run").newest() == 7  # ranks agree to stop behind the next step


def test_a_new_epoch_looks_before_it_reads_again(tmp_path: Path, before_step) -> None:
    """There are nineteen windows, and the third step takes the twentieth sample."""
    write_tokens(tmp_path / "data", documents=10)
    before_step({2: lambda: (tmp_path / "data.bin").unlink()})
    knobs = {"eval_interval": 1000, "eval_iters": 0, "save_interval": 1000, "split": "100,0,0"}
    output = train(run_config(tmp_path, **knobs), status=2)
    assert "data.bin was removed under the run" in output
    assert CheckpointStore(tmp_path / "run").newest() == 4


def test_a_source_that_is_not_read_any_more_may_go(tmp_path: Path, before_step) -> None:
    """Of two phases each has its own: 96 samples, the second's from 50 on."""
    for number, name in enumerate("ab"):
        write_tokens(tmp_path / name, seed=number)
    first = {"from": 0, "sources": {"a": {"path": str(tmp_path / "a"), "weight": 1}}}
    second = {"from": 50, "sources": {"b": {"path": str(tmp_path / "b"), "weight": 1}}}
    (tmp_path / "phases.yaml").write_text(yaml.safe_dump([first, second]))
    config = run_config(tmp_path, phases=str(tmp_path / "phases.yaml"), data_path=None, eval_iters=0)
    before_step({8: lambda: (tmp_path / "a.bin").unlink()})  # 56 are read
    train(config, "--save", str(tmp_path / "late"))
    write_tokens(tmp_path / "a")
    before_step({5: lambda: (tmp_path / "b.bin").unlink()})
    output = train(config, "--save", str(tmp_path / "early"), status=2)
    assert "b.bin was removed under the run" in output
