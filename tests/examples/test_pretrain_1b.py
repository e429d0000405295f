from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from steel_megatron.config import check_run, load_run_config

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "pretrain_1b" / "train_8xa100.sh"


def run_script(**variables: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if name not in ("DATA", "TOKENIZER", "SAVE", "GPUS")}
    environment = {**kept, "PATH": path, **variables}
    return subprocess.run(["bash", str(SCRIPT)], env=environment, check=False, capture_output=True, text=True)


def test_the_run_file_holds_for_eight_processes() -> None:
    config = load_run_config(ROOT / "examples" / "pretrain_1b" / "steel_1b.yaml")
    check_run(config, world_size=8)
    assert config.training.global_batch_size == 1024


def test_missing_inputs_are_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    given = {"DATA": str(tmp_path / "x"), "TOKENIZER": str(tmp_path / "tokenizer"), "SAVE": str(tmp_path / "run")}
    for name in given:
        done = run_script(**{key: value for key, value in given.items() if key != name})
        assert (done.returncode, f"{name} is not set" in done.stderr) == (2, True)
    done = run_script(**given, GPUS="0")
    assert f"no {tmp_path}/x.bin" in done.stderr
    assert "GPUs wanted" in run_script(**given, GPUS="10000").stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_smoke(tmp_path: Path) -> None:
    done = run_script(SMOKE="1", SAVE=str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 60
    assert rows[-1]["valid_loss"] < 6.0 < rows[0]["loss"]
