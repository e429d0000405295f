from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from steel_megatron.config import check_run, load_run_config

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "pretrain_1b"
SCRIPTS = sorted([*FOLDER.glob("*.sh"), *FOLDER.glob("*.sbatch")])
VARIABLES = "DATA PHASES TOKENIZER SAVE GPUS TP NNODES MASTER_ADDR MASTER_PORT LOCAL_ADDR RUN_ID LOAD OUTPUT STEP DTYPE"
SHORT = (
    "--train-iters",
    "4",
    "--eval-interval",
    "4",
    "--eval-iters",
    "1",
    "--save-interval",
    "4",
    "--log-interval",
    "2",
)


def run_script(script: str, *flags: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    unset = (*VARIABLES.split(), "CHECK", "VENV", "SMOKE", "SMOKE_DATA")
    kept = {name: value for name, value in os.environ.items() if name not in unset and not name.startswith("SLURM_")}
    path = f"{variables.pop('FIRST_ON_PATH', '')}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return subprocess.run(
        ["bash", str(FOLDER / script), *flags],
        env={**kept, "PATH": path, **variables},
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
    )


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_the_run_file_holds_for_eight_processes() -> None:
    config = check_run(load_run_config(FOLDER / "steel_1b.yaml"), world_size=8)
    assert config.training.global_batch_size == 1024


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_parse_and_their_heads_name_every_variable(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    if script.name != "common.sh":
        head = script.read_text().split("set -euo pipefail")[0]
        assert "SMOKE=1" in head
        assert "machine" in head or "cluster" in head


def test_missing_inputs_are_named_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    given = {"DATA": str(tmp_path / "x"), "TOKENIZER": str(tmp_path / "tokenizer"), "SAVE": str(tmp_path / "run")}
    for name in given:
        done = run_script("train_8xa100.sh", **{key: value for key, value in given.items() if key != name})
        assert (done.returncode, f"{name} is not set" in done.stderr) == (2, True)
    assert f"no {tmp_path}/x.bin" in run_script("train_8xa100.sh", **given).stderr
    for count in ("0", "-1", "two", ""):
        done = run_script("train_8xa100.sh", **given, GPUS=count)
        assert (done.returncode, f"GPUS={count or 8} is not" in done.stderr) == (2, bool(count)), done.stderr
    for suffix in ("bin", "idx"):
        (tmp_path / f"x.{suffix}").touch()
    assert "GPUs wanted" in run_script("train_8xa100.sh", **given, GPUS="10000").stderr
    assert not (tmp_path / "run").exists()


def test_paths_are_the_callers_and_may_have_blanks(tmp_path: Path) -> None:
    """torchrun is a stand-in that prints what it is given; weights may be fractions."""
    (tmp_path / "torchrun").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "torchrun").chmod(0o755)
    here = tmp_path / "a folder"
    (here / "my data").mkdir(parents=True)
    (here / "tok").touch()
    for name in ("my data/zh.bin", "my data/zh.idx", "code.bin", "code.idx"):
        (here / name).touch()
    given = {"TOKENIZER": "tok", "SAVE": "my run", "GPUS": "2", "FIRST_ON_PATH": str(tmp_path), "folder": here}
    for data, words in {
        "code": ["code"],
        "my data/zh": ["my data/zh"],
        "1/3 my data/zh 2e-1 code": ["1/3", "my data/zh", "2e-1", "code"],
        "0.7 code 0.3 my data/zh": ["0.7", "code", "0.3", "my data/zh"],
    }.items():
        done = run_script("train_8xa100.sh", "--device", "cpu", DATA=data, **given)
        assert done.returncode == 0, done.stderr
        printed = done.stdout.splitlines()
        first = printed.index("--data-path") + 1
        assert printed[first : first + len(words)] == words
        assert printed[printed.index("--save") + 1] == "my run"
        assert printed[: printed.index("-m")].count("--max-restarts") == 1
    assert (here / "my run").is_dir()
    for name, value in {"MAX_RESTARTS": "-1", "SAVE_SECONDS": "0"}.items():
        done = run_script("train_8xa100.sh", "--device", "cpu", DATA="code", **given, **{name: value})
        assert (done.returncode, f"{name}={value} is not a whole number" in done.stderr) == (2, True), done.stderr
    done = run_script("train_8xa100.sh", "--device", "cpu", DATA="1/3 code 2/3 my data/other", **given)
    assert (done.returncode, "no my data/other.bin" in done.stderr) == (2, True), done.stderr


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "NNODES is not set"),
        ({"NNODES": "2"}, "MASTER_ADDR is not set"),
        ({"NNODES": "two", "MASTER_ADDR": "127.0.0.1"}, "NNODES=two is not a whole number"),
        ({"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "GPUS": "8", "TP": "3"}, "TP=3 does not divide GPUS=8"),
        ({"NNODES": "2", "MASTER_ADDR": "no.such.host.invalid"}, "no such name"),
        ({"NNODES": "2", "MASTER_ADDR": "127.0.0.1"}, "DATA is not set"),
        ({"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "GPUS": "0"}, "GPUS=0 is not a whole number of 1 or more"),
    ],
)
def test_what_is_missing_for_several_nodes(variables: dict[str, str], says: str) -> None:
    done = run_script("train_multi_node.sh", **variables)
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr


def test_what_is_missing_for_an_export(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    assert "LOAD is not set" in run_script("export_hf.sh", OUTPUT=nowhere).stderr
    assert "OUTPUT is not set" in run_script("export_hf.sh", LOAD=nowhere).stderr
    assert f"no folder of a run at {nowhere}" in run_script("export_hf.sh", LOAD=nowhere, OUTPUT=nowhere).stderr
    assert "STEP=x" in run_script("export_hf.sh", LOAD=str(tmp_path), OUTPUT=nowhere, STEP="x").stderr


def test_a_job_file_says_what_it_lacks(tmp_path: Path) -> None:
    assert "no Slurm job" in run_script("train.sbatch").stderr
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "a[0-1]"}
    assert "not the repository's root" in run_script("train.sbatch", **job, SLURM_SUBMIT_DIR=str(tmp_path)).stderr
    assert "SAVE is not set" in run_script("train.sbatch", **job, SLURM_SUBMIT_DIR=str(ROOT)).stderr
    assert "no Python environment" in run_script("train.sbatch", VENV=str(tmp_path)).stderr


def test_a_job_file_is_found_where_slurm_says_that_it_was(tmp_path: Path) -> None:
    (tmp_path / "scontrol").write_text(f'#!/bin/bash\necho "   Command={FOLDER}/train.sbatch --lr 1"\n')
    (tmp_path / "scontrol").chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "a[0-1]"}
    done = run_script("train.sbatch", **job, SLURM_SUBMIT_DIR=str(tmp_path), FIRST_ON_PATH=str(tmp_path))
    assert "SAVE is not set" in done.stderr  # past the search for this folder


def test_two_nodes_on_this_machine_train_one_model(tmp_path: Path) -> None:
    done = run_script("train_multi_node.sh", *SHORT, SMOKE="1", SAVE=str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert "4 processes on cpu, tp 2 × pp 1 × dp 2" in done.stderr + done.stdout
    assert metrics(tmp_path / "run")[-1]["step"] == 4
    assert (tmp_path / "run" / "step_0000004").is_dir()


@pytest.mark.slow
def test_a_node_that_fails_ends_the_others(tmp_path: Path) -> None:
    done = run_script("train_multi_node.sh", "--num-layers", "0", SMOKE="1", SAVE=str(tmp_path / "run"))
    assert done.returncode != 0
    assert "done:" not in done.stdout


def test_a_slurm_job_starts_one_launcher_per_node(tmp_path: Path) -> None:
    """`scontrol` and `srun` are stand-ins: two nodes of this name, a process each."""
    for name, text in {
        "scontrol": '[ "$*" = "show hostnames a[0-1]" ] && printf "127.0.0.1\\n127.0.0.1\\n"',
        "srun": 'echo "srun $*" >&2; while [ "${1:0:2}" = -- ]; do shift; done; '
        '"$@" & one=$!; "$@" & two=$!; wait $one && wait $two',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    job = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_NODELIST": "a[0-1]",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SLURM_JOB_END_TIME": "9999999999",
        "LOCAL_ADDR": "127.0.0.1",
    }
    run = tmp_path / "run"
    done = run_script(
        "train.sbatch", *SHORT, FIRST_ON_PATH=str(tmp_path), folder=tmp_path, SMOKE="1", SAVE=str(run), **job
    )
    assert done.returncode == 0, done.stderr
    assert "srun --nodes=2 --ntasks=2 --ntasks-per-node=1" in done.stderr
    assert metrics(run)[-1]["step"] == 4
    assert "exit_duration_in_mins" in (run / "config.yaml").read_text()


def test_an_export_of_a_small_run_agrees_with_transformers(tmp_path: Path) -> None:
    done = run_script("export_hf.sh", folder=tmp_path, SMOKE="1", LOAD=str(tmp_path / "run"), OUTPUT="model")
    assert done.returncode == 0, done.stderr
    assert "logits in transformers differ from ours by at most" in done.stdout
    assert json.loads((tmp_path / "model" / "config.json").read_text())["hidden_size"] == 64


@pytest.mark.slow
def test_smoke_outside_slurm(tmp_path: Path) -> None:
    done = run_script("train.sbatch", SMOKE="1", SAVE=str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path / "run")[-1]["step"] == 60


@pytest.mark.slow
def test_smoke_learns(tmp_path: Path) -> None:
    done = run_script("train_8xa100.sh", SMOKE="1", SAVE=str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    rows = metrics(tmp_path / "run")
    assert rows[-1]["step"] == 60
    assert rows[-1]["valid_loss"] < 6.0 < rows[0]["loss"]
