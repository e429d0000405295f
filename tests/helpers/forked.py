"""Work in a forked process, which may be killed before and after each of its system calls in turn.

That gives every state that a SIGKILL can leave behind.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable

import pytest

TRACEME, SYSCALL = 0, 24  # requests of ptrace(2)
MAY_NOT = 77  # exit status of a child that may not be traced


def in_child(work: Callable[[], object]) -> int:
    """Exit status of ``work`` in a forked process; 1 after an exception, which is printed."""
    return os.waitstatus_to_exitcode(os.waitpid(_fork(work), 0)[1])


def kill_everywhere(
    work: Callable[[], object], prepare: Callable[[], object], check: Callable[[], object], step: int = 1
) -> int:
    """``prepare``, ``work`` killed a little later each time, ``check``; until ``work`` comes to its end.

    Args:
        step: entries and returns between two places of death; odd, so that both occur.

    Returns:
        At which entry or return it came to its end.
    """
    if sys.platform != "linux" or not run_and_kill(lambda: None, 0):
        pytest.skip("a process may not trace its child here")
    calls = 0
    while True:
        prepare()
        killed = run_and_kill(work, calls)
        check()
        if not killed:
            return calls
        calls += step


def run_and_kill(work: Callable[[], object], calls: int) -> bool:
    """Runs ``work`` in a forked process and kills it when it has entered or left a system call so often.

    Returns:
        Whether it was killed; False when it ended before, or may not be traced.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def traced() -> None:
        if libc.ptrace(TRACEME, 0, None, None) != 0:
            os._exit(MAY_NOT)
        os.kill(os.getpid(), signal.SIGSTOP)
        work()

    process = _fork(traced)
    _, state = os.waitpid(process, 0)
    if not os.WIFSTOPPED(state):
        assert os.waitstatus_to_exitcode(state) == MAY_NOT
        return False
    for _ in range(calls):
        libc.ptrace(SYSCALL, process, None, None)
        _, state = os.waitpid(process, 0)
        if not os.WIFSTOPPED(state):
            assert os.waitstatus_to_exitcode(state) == 0, "the work itself failed"
            return False
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return True


def _fork(work: Callable[[], object]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of progress bars, which the child does without
        process = os.fork()
    if process == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return process
