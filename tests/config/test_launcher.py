"""What launchers tell a process: refused at once where it cannot be a run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.config.launcher import Launch, launch_from

ROOT = Path(__file__).parents[2]
WHOLE = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
TASK = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_LOCALID": "0"}


def test_torchruns_variables_are_read():
    assert launch_from({}) is None
    assert launch_from(WHOLE) == Launch(1, 2, 1, 2)
    node = {"LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x"}
    assert launch_from({**WHOLE, "RANK": "3", "WORLD_SIZE": "4", **node}) == Launch(3, 4, 1, 2, under_torchrun=True)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"RANK": ""}, r"RANK=\(empty\)"),
        ({"WORLD_SIZE": ""}, r"WORLD_SIZE=\(empty\)"),
        ({"RANK": "2"}, "RANK=2 with WORLD_SIZE=2"),
        ({"RANK": "-1"}, "RANK=-1"),
        ({"RANK": "one"}, "RANK=one"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "RANK=0 with WORLD_SIZE=0"),
        ({"LOCAL_RANK": "2"}, "LOCAL_RANK=2 with LOCAL_WORLD_SIZE=2"),
        ({"LOCAL_WORLD_SIZE": "0"}, "LOCAL_RANK=0 with LOCAL_WORLD_SIZE=0"),
        ({"LOCAL_WORLD_SIZE": "4"}, "LOCAL_WORLD_SIZE=4 with WORLD_SIZE=2"),
        ({"MASTER_PORT": ""}, r"MASTER_PORT=\(empty\)"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT=99999"),
        ({"MASTER_ADDR": ""}, "MASTER_ADDR is empty"),
    ],
)
def test_what_contradicts_itself_is_three_lines(variables, says):
    with pytest.raises(ConfigError, match=says) as caught:
        launch_from({**WHOLE, **variables})
    assert caught.value.rule
    assert "torchrun" in caught.value.fix


@pytest.mark.parametrize(
    "variables",
    [
        {**TASK, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"},
        {**TASK, "SLURM_NTASKS": "2", "SLURM_PROCID": "0"},
        {"SLURM_NTASKS": "2", "SLURM_PROCID": "1"},
        {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"},
        {"PMI_SIZE": "2", "PMI_RANK": "0"},
    ],
)
def test_many_runs_that_know_nothing_of_one_another_are_refused(variables):
    with pytest.raises(ConfigError, match="starts this command 2 times"):
        launch_from(variables)


@pytest.mark.parametrize(
    "variables",
    [
        {**TASK, "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"},
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"},  # the batch script itself
        {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "8"},  # salloc's shell
    ],
)
def test_one_process_inside_a_job_is_a_run(variables):
    assert launch_from(variables) is None


@pytest.mark.parametrize("variables", [{"WORLD_SIZE": "", "RANK": ""}, {**WHOLE, "RANK": "2"}])
def test_the_command_line_answers_before_it_loads_torch(variables):
    program = "import sys; from steel_megatron.cli.main import main; "
    program += "sys.exit(main(['train']) + ('torch' in sys.modules))"
    environment = {"PATH": "", **WHOLE, **variables}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 3), done.stderr
    assert done.stderr.startswith("error: RANK=")
