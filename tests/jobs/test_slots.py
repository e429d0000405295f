"""Slots that several runs share: never more tasks at once than slots, and a killed holder gives its slot back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from steel_megatron.jobs.pool import ordered_map
from steel_megatron.jobs.slots import VARIABLE, make_slots, task_slot

HOLDER = "import sys\nfrom steel_megatron.jobs.slots import task_slot\nwith task_slot():\n print(flush=True), input()\n"
RUN = """
import os, sys, time
from pathlib import Path
from steel_megatron.jobs.pool import ordered_map

def note(folder, item):
    mine = Path(folder, f"{os.getpid()}.{item}")
    mine.touch()
    seen = len(list(Path(folder).iterdir()))
    time.sleep(0.01)
    mine.unlink()
    return seen

if __name__ == "__main__":
    print(max(ordered_map(note, sys.argv[1], range(25), int(sys.argv[2]))))
"""


@pytest.mark.parametrize("slots", [1, 2])
def test_runs_beside_one_another_hold_no_more_tasks_than_slots(tmp_path: Path, slots: int) -> None:
    (tmp_path / "run.py").write_text(RUN)
    (tmp_path / "at_work").mkdir()
    environment = {**os.environ, **make_slots(tmp_path / "slots", slots)}
    runs = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "at_work"), workers],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for workers in ("1", "2")
    ]
    most = [int(run.communicate()[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert max(most) <= slots


def test_a_killed_holder_gives_its_slot_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in make_slots(tmp_path / "slots", 1).items():
        monkeypatch.setenv(name, value)
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDER], stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.send_signal(signal.SIGKILL)
    with task_slot():
        pass


def test_without_slots_nothing_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert list(ordered_map(lambda state, item: item, None, [1, 2], 1)) == [1, 2]


def test_slots_of_a_run_before_are_replaced(tmp_path: Path) -> None:
    make_slots(tmp_path / "slots", 3)
    make_slots(tmp_path / "slots", 2)
    assert len(list((tmp_path / "slots").iterdir())) == 2
