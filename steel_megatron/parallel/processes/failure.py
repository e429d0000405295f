"""What a process does when it fails in a run of several: it says why, tells the others, and leaves at once.

Nothing is taken apart: NCCL's destroy waits for the peers, which wait for this rank in a collective, so a process that
cleans up in good order hangs with its message unsaid. The order here is: tell the others, print, record for torchrun,
close what is local, ``os._exit``.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from typing import NoReturn

from steel_megatron.config import ConfigError, DeviceMemoryError, StalledRunError, SteelError, StorageError
from steel_megatron.config.launcher import is_one_of_several
from steel_megatron.config.os_errors import about_files, complete, explained
from steel_megatron.config.restarts import ERROR_FILE, error_record, note_final
from steel_megatron.parallel.processes.watch import ECHO_SECONDS, PERIOD, Watch, current_watch, said_in_full_here

CLOSING_SECONDS = 10.0  # for files and threads of a process that has failed, once its error is told
FIRST_RANK_SECONDS = 4.0  # before any rank has joined: for rank 0 to say what all ranks find

_told: BaseException | None = None
_hard = False


def leave_hard() -> None:
    """From here on this process ends soon after :func:`tell`, whatever hangs; for the command line."""
    global _hard
    _hard = True


def tell(error: BaseException) -> None:
    """Prints an error of this rank and tells all other ranks, which then leave; does nothing in a single process.

    The first error of the run is printed in full and recorded where torchrun looks for the root cause; what other ranks
    meet because of it is one line each, and nothing if it is the same on all of them.
    """
    global _told
    if isinstance(error, SystemExit) and not error.code:
        return  # as of --help
    if not is_one_of_several(os.environ) or (_told is not None and _told in (error, error.__cause__)):
        return
    _told = error
    error = in_words(error)
    if _hard:
        timer = threading.Timer(CLOSING_SECONDS, os._exit, [exit_status(error)])
        timer.daemon = True
        timer.start()
    rank, watch = int(os.environ["RANK"]), current_watch()
    own = one_line(error)
    if watch is None:
        _wait_for_first_rank(rank, error)
        first = told = own
    else:
        told = f"rank {rank} on {socket.gethostname()}: {own}"
        first = watch.tell(told)
    if first == told:
        if watch is not None or rank == 0 or not isinstance(error, KeyboardInterrupt):
            _print(rank, in_full(error), alone=isinstance(error, (SteelError, KeyboardInterrupt)))
        _record(error)
    elif first.partition(": ")[2] != own and not said_in_full_here(first):
        _print(rank, f"{own}\n  after: {first}")
    if is_final(error):
        note_final(os.environ, error_record(os.environ))


def leave(error: BaseException) -> NoReturn:
    """Tells the error if that is not done, and ends the process with its exit status; torch is not taken apart."""
    tell(error)
    watch = current_watch()
    if watch is not None:
        time.sleep(_seconds_for_others(watch))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_status(error))


def in_words(error: BaseException) -> BaseException:
    """What the system refuses, as a disk that is full, in three lines; any other error as it is."""
    if isinstance(error, SteelError):
        complete(error)
    return explained(error) if isinstance(error, OSError) and about_files(error) else error


def exit_status(error: BaseException) -> int:
    """2 for an error that a user can act on, 130 for Ctrl-C, a SystemExit's own, else 1."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, SteelError) else 1


def is_final(error: BaseException) -> bool:
    """Whether the user must act first. What is short or does not answer now may be there after a restart."""
    return isinstance(error, SteelError) and not isinstance(error, (DeviceMemoryError, StalledRunError, StorageError))


def in_full(error: BaseException) -> str:
    """Three lines, and below them the traceback where it tells more than they do."""
    if isinstance(error, SteelError):
        return f"error: {error}"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted: leaving at once, unsaved; the same command goes on from the last checkpoint"
    unforeseen = SteelError(
        one_line(error),
        rule="this should not happen: the program, a library or the machine is at fault",
        fix="give the same command again: it goes on from the last checkpoint, which is whole; the place is below",
    )
    return f"error: {unforeseen}\n" + "".join(traceback.format_exception(error)).rstrip()


def one_line(error: BaseException) -> str:
    """The error's own words, as far as one line holds them."""
    if isinstance(error, SteelError):
        return f"error: {error.given}".splitlines()[0]
    return traceback.format_exception_only(error)[-1].strip().splitlines()[0]


def _print(rank: int, text: str, alone: bool = False) -> None:
    """Says it with rank and host, or ``alone`` if it is rank 0 that says it, as in a run of one process."""
    sys.stdout.flush()
    if rank > 0 or not alone:
        text = f"[rank {rank} on {socket.gethostname()}] {text}"
    print(text, file=sys.stderr, flush=True)


def _record(error: BaseException) -> None:
    """For torchrun's summary, which names the earliest recorded error as the root cause."""
    if not os.environ.get(ERROR_FILE) or isinstance(error, SystemExit):
        return
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    try:
        raise error  # the handler asks for the exception being handled
    except BaseException:
        get_error_handler().record_exception(error)


def _wait_for_first_rank(rank: int, error: BaseException) -> None:
    """Before the ranks have joined a wrong configuration is found by all: rank 0 says so, and its end ends the others.

    Where it is wrong on this machine alone, nothing ends this process, and it speaks after a while itself.
    """
    if rank > 0 and isinstance(error, ConfigError):
        first_here = os.environ.get("LOCAL_RANK", "") == "0"
        time.sleep(FIRST_RANK_SECONDS if first_here else 2 * FIRST_RANK_SECONDS)


def _seconds_for_others(watch: Watch) -> float:
    """How long to stay, so that the others hear of the failure, and torchrun of the first one first."""
    if watch.first:
        return 2 * PERIOD if watch.holds_store else 0.0
    return ECHO_SECONDS
