"""A thread in every process of a run that hears when another process fails, while the main thread may not hear at all.

With NCCL the ranks that wait for one that failed wait in a collective until its timeout: their main threads run no
Python, so neither an exception nor a signal reaches them. This thread asks the run's key-value store once a second
whether a rank has told of a failure, looks whether the other processes of this machine are still there, and ends its
own process if not. It also sees when torchrun is gone (killed by a signal that it does not handle): then the run is
asked to save and to leave, for nobody else would ever stop it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from steel_megatron.config.restarts import note_final
from steel_megatron.parallel.processes import operations
from steel_megatron.parallel.processes.flight import unfinished
from steel_megatron.parallel.processes.stall import Sign, silent_ranks, stall_error

log = logging.getLogger(__name__)

PERIOD = 1.0  # seconds between two looks
MEETING = 0.02  # the same until the neighbours are known: one that dies before that could not be named
PATIENCE = timedelta(seconds=5)  # for an answer of the store
FAILURE = "failure"
EXIT_STATUS = 1  # of a process that leaves because of another one
BY_USER, STALL = "error: ", "stall: "  # how failures begin that are said in full where they are met
SIGNS_APART = 3 * PERIOD
ECHO_SECONDS = 3.0  # before it leaves, so that torchrun sees the process at fault end first


class Watch:
    """Watches over the processes of a run.

    Args:
        rank: this process's.
        neighbours: ranks that may be on this machine; those that are not are found out.
        store: of this run alone, and of this thread and :meth:`tell` alone (a clone); None for a run of one process.
        under_torchrun: the parent process is torchrun, which holds the store, and the run ends with it.
        world_size: ranks that give signs of life.
        patience: seconds that the main thread may wait in one operation.

    ``first``: what :meth:`tell` told was the first failure of the run. ``holds_store``: the store ends with this
    process.
    """

    def __init__(
        self,
        rank: int,
        neighbours: range,
        store: dist.Store | None,
        under_torchrun: bool,
        world_size: int = 1,
        patience: float = math.inf,
    ) -> None:
        self.rank = rank
        self.on_orphaned: Callable[[], None] = lambda: log.warning("torchrun is gone")
        self.first = True
        self.holds_store = store is not None and rank == 0 and not under_torchrun
        self._store = store
        self._unknown = [other for other in neighbours if other != rank] if store is not None else []
        self._processes: dict[int, int] = {}  # rank → process, of this machine
        self._machine = _machine()
        self._parent = os.getppid() if under_torchrun else None
        self._world_size = world_size
        self._patience = patience
        self._beat = 0
        self._silent: list[int] = []  # ranks that do not run
        self._stopped = threading.Event()
        self._lock = threading.Lock()  # the thread and tell() both look
        if store is not None:
            store.set_timeout(PATIENCE)
            store.set(f"process/{rank}", f"{self._machine} {os.getpid()}")
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """From here on other processes may end; call it before the last thing that all processes do together."""
        self._stopped.set()
        self._thread.join(2 * PATIENCE.total_seconds())

    def tell(self, failure: str) -> str:
        """Tells all ranks of a failure of this one; returns the failure that was told first, which may be this.

        A process that was killed told nothing, and its peers' errors come of its end: then that end is what is told.
        """
        self._stopped.set()
        if self._store is None:
            return failure
        try:
            found = self._failure() or self._claim(failure)
        except Exception as error:  # whatever it is: the failure that is being told matters more
            log.debug("the store does not answer: %s", error)  # gone with the process that held it
            return failure
        self.first = found == failure
        return found

    def _run(self) -> None:
        while not self._stopped.wait(MEETING if self._unknown and self._store is not None else PERIOD):
            self._look_for_parent()
            try:
                self._give_sign()
                failure = self._failure() or self._stall()
            except RuntimeError as error:  # dist.DistError among them
                log.debug("the store does not answer: %s", error)
                self._store = None  # a neighbour's end or the parent's tells more
                if self._parent is not None or not isinstance(error, dist.DistNetworkError):
                    continue
                time.sleep(PERIOD / 2)  # a process closes its sockets before it counts as ended
                failure = self._failure() or "rank 0 has died: its process held the run's store, which is gone"
            if failure is not None and not self._stopped.is_set():
                self._leave(failure)

    def _look_for_parent(self) -> None:
        if self._parent is not None and os.getppid() != self._parent:
            self._parent = None
            self._store = None  # torchrun held it
            self.on_orphaned()

    def _failure(self) -> str | None:
        """What another rank told, or that one has died on this machine without a word."""
        with self._lock:
            if self._store is not None and self._store.check([FAILURE]):
                return self._store.get(FAILURE).decode()
            self._meet_neighbours()
            dead = next((other for other, process in self._processes.items() if not _lives(process)), None)
            if dead is None:
                return None
            return self._claim(f"rank {dead} on {socket.gethostname()} has died (process {self._processes[dead]})")

    def _give_sign(self) -> None:
        """Says in the store what this process is at."""
        if self._store is None or self._world_size == 1:
            return
        self._beat += 1
        sign = Sign.of(operations.current(), self._beat, socket.gethostname(), os.getpid())
        with self._lock:
            self._store.set(f"sign/{self.rank}", sign.dumps())

    def _signs(self) -> dict[int, Sign]:
        """The last sign of every rank that gave one."""
        found = {}
        for rank in range(self._world_size):
            with self._lock:
                if self._store is not None and self._store.check([f"sign/{rank}"]):
                    found[rank] = Sign.loads(self._store.get(f"sign/{rank}").decode())
        return found

    def _stall(self) -> str | None:
        """The failure that the main thread has waited in one operation for too long, said in full by the first rank."""
        operation = operations.current()
        if self._store is None or not operation.waiting or time.monotonic() - operation.since < self._patience:
            return None
        before = self._signs()
        time.sleep(SIGNS_APART)
        self._give_sign()
        if operations.current() != operation:
            return None  # it went on meanwhile
        signs = self._signs()
        silent = [rank for rank in silent_ranks(self._world_size, before, signs) if rank != self.rank]
        error = stall_error(self.rank, self._patience / 60, signs, silent, unfinished(self.rank))
        told = f"rank {self.rank} on {socket.gethostname()}: {STALL}{error.given}"
        failure = self._claim(told)
        if failure == told:
            print(f"[rank {self.rank} on {socket.gethostname()}] error: {error}", file=sys.stderr, flush=True)
        self._silent = silent
        return failure

    def _claim(self, failure: str) -> str:
        """Makes it the run's failure if there is none yet; returns the run's failure."""
        return failure if self._store is None else self._store.compare_set(FAILURE, "", failure).decode()

    def _meet_neighbours(self) -> None:
        """Learns which processes are on this machine."""
        for other in self._unknown[:]:
            if self._store is None or not self._store.check([f"process/{other}"]):
                continue
            machine, process = self._store.get(f"process/{other}").decode().rsplit(" ", 1)
            self._unknown.remove(other)
            if machine == self._machine:
                self._processes[other] = int(process)

    def _leave(self, failure: str) -> None:
        """Ends this process at once: its main thread waits for a rank that will not come."""
        what = failure.partition(": ")[2]
        if what.startswith(BY_USER):
            note_final(os.environ)
        first_here = os.environ.get("LOCAL_RANK", "0") == "0"
        if not said_in_full_here(failure) and (first_here or not what.startswith((BY_USER, STALL))):
            print(f"[rank {self.rank} on {socket.gethostname()}] leaves: {failure}", file=sys.stderr, flush=True)
        time.sleep(ECHO_SECONDS)
        for rank in self._silent:
            if rank in self._processes:  # of this machine; torchrun would give it time to save
                with contextlib.suppress(OSError):
                    os.kill(self._processes[rank], signal.SIGKILL)
        os._exit(EXIT_STATUS)


def said_in_full_here(failure: str) -> bool:
    """Whether a failure that was told is a message to the user, which stands on this machine's terminal already."""
    head, _, what = failure.partition(": ")
    return what.startswith((BY_USER, STALL)) and head.rpartition(" on ")[2] == socket.gethostname()


_current: Watch | None = None


def keep_watch(watch: Watch) -> None:
    """Makes it the watch of this process."""
    global _current
    _current = watch


def current_watch() -> Watch | None:
    """The watch of this process, if it takes part in a run of torchrun."""
    return _current


def stop_watch() -> None:
    """Stops the watch; safe to call when there is none."""
    global _current
    if _current is not None:
        _current.stop()
        _current = None


def _machine() -> str:
    """A name under which process numbers mean the same: one boot of a machine, one namespace of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"unknown/{uuid.uuid4()}"  # off Linux: like no other, so that nobody looks for this process


def _lives(process: int) -> bool:
    """Whether a process of this machine is there and not just waiting for its parent to ask how it ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return state.rsplit(")", 1)[-1].split()[0] not in "ZX"
