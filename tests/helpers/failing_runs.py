"""Training runs of several processes in which one rank fails, and the others wait for it as they would under NCCL.

gloo's collectives raise when a peer is gone and its destroy waits for nobody. NCCL's do neither: here the peers of a
rank that fails sit in a call into C from which no signal handler returns them, and destroying the process group waits
for all.
"""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from helpers.processes import free_port

_CONTEXT = multiprocessing.get_context("forkserver")  # the server of helpers.processes, which has torch


@dataclass
class End:
    """How a process ended: its exit status, what it printed, and what it left for torchrun to read."""

    status: int | None
    text: str
    record: str


def fail_in(fault: str, rank: int, arguments: list[str], folder: Path, hang: bool = True) -> list[End]:
    """Runs ``steel`` with the arguments in two processes, of which one fails; returns how each ended.

    Args:
        fault: a key of :data:`FAULTS`.
        rank: that fails.
        hang: the other rank waits as under NCCL; else it meets what gloo says.

    Raises:
        TimeoutError: a process is still there after a minute and a half, with what all have printed.
    """
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    folder.mkdir()
    processes = []
    for number in range(2):
        variables = {
            **shared,
            "RANK": str(number),
            "LOCAL_RANK": str(number),
            "TORCHELASTIC_ERROR_FILE": str(folder / f"{number}.json"),
        }
        work = (fault, number == rank, hang, arguments, variables, folder / str(number))
        process = _CONTEXT.Process(target=_work, args=work)
        process.start()
        processes.append(process)
    deadline = time.monotonic() + 90
    for process in processes:
        process.join(max(deadline - time.monotonic(), 0.0))
    late = [number for number, process in enumerate(processes) if process.is_alive()]
    for process in processes:
        process.kill()
        process.join()
    ends = [End(process.exitcode, *_left(folder, number)) for number, process in enumerate(processes)]
    if late:
        raise TimeoutError(f"ranks {late} are still there; {ends}")
    return ends


def _left(folder: Path, number: int) -> tuple[str, str]:
    record = folder / f"{number}.json"
    return (folder / str(number)).read_text(), record.read_text() if record.exists() else ""


def _work(fault: str, fails: bool, hangs: bool, arguments: list[str], variables: dict[str, str], output: Path) -> None:
    os.environ.update(variables, OMP_NUM_THREADS="1")
    with output.open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115 - of the process
    torch.set_num_threads(1)
    from steel_megatron.cli.main import main

    destroy = dist.destroy_process_group

    def destroy_when_all_do() -> None:
        try:
            dist.barrier()
        except RuntimeError:
            wait_forever()
        destroy()

    dist.destroy_process_group = destroy_when_all_do
    FAULTS[fault](lambda error: plant(error, fails, hangs))
    sys.exit(main(arguments))


def plant(error: Callable[[], Any], fails: bool, hangs: bool) -> None:
    """Fails on the rank that shall, and never returns on the others if they hang."""
    if fails:
        raise error()
    if hangs:
        wait_forever()


def wait_forever() -> NoReturn:
    """In C, without the interpreter's lock, as in a collective; a signal is handled and waiting goes on."""
    sleep = ctypes.CDLL(None).sleep
    while True:
        sleep(600)


Plant = Callable[[Callable[[], Any]], None]


def before(owner: Any, name: str, action: Callable[..., None]) -> None:
    """Has ``action`` called with the same arguments before a method of a class or function of a module."""
    original = getattr(owner, name)

    def both(*args: Any, **kwargs: Any) -> Any:
        action(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, both)


def _setup(here: Plant) -> None:
    from steel_megatron.training import run

    before(run, "build_components", lambda *_, **__: here(lambda: ValueError("planted in setup")))


def _forward(here: Plant) -> None:
    from steel_megatron.training.engine import Engine

    before(Engine, "train", lambda *_: here(lambda: RuntimeError("planted in forward")))


def _interrupt(here: Plant) -> None:
    from steel_megatron.training.engine import Engine

    before(Engine, "train", lambda *_: here(KeyboardInterrupt))


def _memory(here: Plant) -> None:
    from steel_megatron.training.engine import Engine

    text = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.25 GiB"
    before(Engine, "train", lambda *_: here(lambda: torch.OutOfMemoryError(text)))


def _callback(here: Plant) -> None:
    from steel_megatron.training.loop import Trainer

    def at_metrics(_: Trainer, hook: str, *__: Any) -> None:
        if hook == "on_metrics":
            here(lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    before(Trainer, "call", at_metrics)


def _save(here: Plant) -> None:
    """In the part of a save that each rank does alone: the store tells all ranks."""
    from steel_megatron.checkpoint import store

    before(store, "write_bytes", lambda *_: here(lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))


def _save_once(here: Plant) -> None:
    """As above, and only the first time."""
    from steel_megatron.checkpoint import store

    times = [0]

    def first(*_: Any) -> None:
        times[0] += 1
        if times[0] == 1:
            here(lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    before(store, "write_bytes", first)


def _data(here: Plant) -> None:
    """What one rank sees of the data, which is on a disk of its own, is gone when it validates."""
    from steel_megatron.tokens import data_file
    from steel_megatron.training.callbacks.data_files import DataFiles

    look = data_file._look

    def gone(path: str) -> Any:
        here(lambda: FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path))
        return look(path)

    def after_start(self: DataFiles, *_: Any) -> None:
        data_file._look = gone

    before(DataFiles, "on_metrics", after_start)


def _die(here: Plant) -> None:
    from steel_megatron.training.loop import Trainer

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    before(Trainer, "train_step", lambda *_: here(die))


FAULTS: dict[str, Callable[[Plant], None]] = {
    "setup": _setup,
    "forward": _forward,
    "interrupt": _interrupt,
    "memory": _memory,
    "callback": _callback,
    "save": _save,
    "save_once": _save_once,
    "data": _data,
    "die": _die,
}
