"""Two runs never write to one folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steel_megatron.config import CheckpointError
from steel_megatron.training.output.lock import FolderLock

HOLD = "import sys,time; from pathlib import Path; from steel_megatron.training.output.lock import FolderLock; \
lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"


def test_a_second_run_is_refused_until_the_first_dies(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CheckpointError, match=f"in use by process {holder.pid}"):
            FolderLock(tmp_path)
    finally:
        holder.kill()
        holder.wait()
    lock = FolderLock(tmp_path)  # a killed run holds nothing
    assert (tmp_path / ".lock").read_text() == str(os.getpid())
    lock.release()


def test_a_folder_that_is_made_anew_is_held_again(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "run")
    lock.renew()
    shutil.rmtree(tmp_path / "run")
    lock.renew()
    with pytest.raises(CheckpointError, match="in use by process"):
        FolderLock(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    other = FolderLock(tmp_path / "run")
    with pytest.raises(CheckpointError, match="in use by process"):
        lock.renew()
    other.release()
