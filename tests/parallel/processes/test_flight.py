"""What is read from torch's record of NCCL's collectives."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

from steel_megatron.parallel.processes import flight


def entry(group: str, number: int, state: str, name: str = "nccl:all_reduce") -> dict:
    """As torch documents it."""
    return {"process_group": (group, "dp"), "collective_seq_id": number, "profiling_name": name, "state": state}


RECORD = {
    "version": "2.10",
    "entries": [
        entry("0", 1, "completed"),
        entry("2", 7, "completed"),
        entry("2", 8, "started", "nccl:_all_gather_base"),
        entry("2", 9, "scheduled"),
        entry("0", 2, "scheduled"),
    ],
}
WORDS = "nccl:_all_gather_base number 8 of group 2 (dp), started; nccl:all_reduce number 2 of group 0 (dp), scheduled"


def test_the_first_unfinished_collective_of_each_group_is_named():
    assert flight.in_words(RECORD) == WORDS
    assert flight.in_words({}) == ""


def test_the_record_is_asked_for_through_torchs_pipe(tmp_path, monkeypatch):
    monkeypatch.setenv(flight.FILE, f"{tmp_path}/rank_")
    monkeypatch.setenv(flight.PIPE, f"{tmp_path}/rank_")
    assert flight.unfinished(3) == ""  # no pipe: a torch without a recorder
    os.mkfifo(tmp_path / "rank_3.pipe")
    assert flight.unfinished(3) == ""  # nobody reads it

    def torch_thread() -> None:
        reader = os.open(tmp_path / "rank_3.pipe", os.O_RDONLY | os.O_NONBLOCK)
        listening.set()
        while not os.read(reader, 10):
            pass
        (tmp_path / "rank_3").write_bytes(pickle.dumps(RECORD)[:20])  # half of it first
        (tmp_path / "rank_3").write_bytes(pickle.dumps(RECORD))

    (tmp_path / "rank_3").write_bytes(pickle.dumps({}))  # of another time
    listening = threading.Event()
    thread = threading.Thread(target=torch_thread)
    thread.start()
    listening.wait()
    assert flight.unfinished(3) == WORDS
    thread.join()


def test_what_the_user_has_set_stays():
    environment = {flight.FILE: "/elsewhere/", "TORCH_NCCL_TRACE_BUFFER_SIZE": "9"}
    flight.switch_on(environment)
    assert environment == {**environment, flight.FILE: "/elsewhere/", "TORCH_NCCL_TRACE_BUFFER_SIZE": "9"}
    assert flight.PIPE not in environment
    fresh: dict[str, str] = {}
    flight.switch_on(fresh)
    assert Path(fresh[flight.FILE]).parent.is_dir()
