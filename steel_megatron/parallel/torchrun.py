"""What torchrun does better when it starts this package. torchrun loads this itself, as a plugin.

The package is installed with an entry point in ``torchrun.handlers``, torch's place for rendezvous methods of others,
which every torchrun looks up when it starts. Where that torchrun is about to start ``steel_megatron``:

- on a machine whose own name leads nowhere (containers, fresh nodes) it is told ``--local-addr``, for without that its
  processes wait for a name that nobody answers to, until the timeout;
- it gives its processes ten minutes to save after a signal instead of 30 seconds (``--shutdown-timeout``, torch
  2.12 and later), and passes SIGUSR1 on instead of dying of it (``--signals-to-handle``), unless it is told otherwise;
- at its end it says in a line which process failed, in place of a traceback of its own: what failed stands above.

Nothing here happens in another program, nor where the package is not installed; the launch scripts pass these flags.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from steel_megatron.config import ConfigError
from steel_megatron.parallel.processes.addresses import LOOPBACK, address_towards, is_known, is_own

SHUTDOWN_TIMEOUT = ("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", "600")  # seconds
SIGNALS = ("PET_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGQUIT,SIGUSR1")  # PET_…: torchrun's name for a flag's default
PACKAGE = "steel_megatron"
LAUNCHERS = ("torch.distributed.run", "torch.distributed.launch")


def handler() -> Any:
    """The entry point: prepares this process if it is a torchrun that starts this package."""
    if starts_this_package(sys.orig_argv):
        prepare(sys.argv, os.environ)
        sys.excepthook = say_in_a_line
    return _no_rendezvous


def starts_this_package(words: Sequence[str]) -> bool:
    """Whether a command line (the interpreter's own words) is torchrun's, and runs this package."""
    launcher = next((i for i, word in enumerate(words) if Path(word).name == "torchrun" or word in LAUNCHERS), None)
    return launcher is not None and any(Path(word).name in (PACKAGE, "steel") for word in words[launcher + 1 :])


def prepare(arguments: list[str], environment: MutableMapping[str, str]) -> None:
    """Adds to torchrun's arguments (in place) and environment what it lacks."""
    environment.setdefault(*SHUTDOWN_TIMEOUT)
    name, signals = SIGNALS
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup has it
        signals += ",SIGHUP"
    environment.setdefault(name, signals)
    endpoint = _option(arguments, "rdzv-endpoint") if _several_nodes(arguments) else None
    if endpoint is not None and not is_known(host_of(endpoint)):
        unknown = ConfigError(
            f"--rdzv-endpoint {endpoint}: this machine knows no {host_of(endpoint)}",
            rule="the nodes of a run meet at a name or address that each of them can look up",
            fix="give the first node's address, or add its name to /etc/hosts here",
        )
        print(f"error: {unknown}", file=sys.stderr)
        sys.exit(2)
    if _option(arguments, "local-addr") is not None:
        return
    name = socket.getfqdn()  # which torchrun takes
    address = local_address(name, endpoint)
    if address is not None:
        arguments[1:1] = ["--local-addr", address]
        print(f"torchrun: {name} is no address of this machine: --local-addr {address} is added", file=sys.stderr)


def local_address(name: str, endpoint: str | None) -> str | None:
    """The address to give in place of this machine's name; None where the name does.

    Args:
        endpoint: ``HOST:PORT`` where several nodes meet; None if all processes are on this machine.
    """
    if endpoint is None:
        return None if is_own(name) else LOOPBACK
    return None if is_known(name) else address_towards(host_of(endpoint))


def host_of(endpoint: str) -> str:
    """The host of ``HOST:PORT``, ``[IPV6]:PORT`` or ``HOST``."""
    host = endpoint.rpartition("]")[0] + "]" if endpoint.startswith("[") else endpoint.partition(":")[0]
    return host.strip("[]")


def say_in_a_line(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """In place of torchrun's traceback: what ended it, when a process or a signal did."""
    sys.stdout.flush()
    if kind.__name__ == "SignalException":
        got = getattr(getattr(error, "sigval", None), "name", "a signal")
        print(f"torchrun: got {got}; all its processes have ended", file=sys.stderr)
    elif kind.__name__ == "ChildFailedError" and hasattr(error, "get_first_failure"):
        rank, failure = error.get_first_failure()
        how = f"ended with status {failure.exitcode}"
        if failure.exitcode < 0:
            how = f"was ended by {failure.signal_name()}"
        print(f"torchrun: rank {rank} on {socket.gethostname()} (process {failure.pid}) {how}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _several_nodes(arguments: Sequence[str]) -> bool:
    return "--standalone" not in arguments and (_option(arguments, "nnodes") or "1") not in ("1", "1:1")


def _option(arguments: Sequence[str], name: str) -> str | None:
    """The value of an option of torchrun's, which come before the program; dashes and underscores are the same."""
    for i, word in enumerate(arguments[1:], 1):
        if word == PACKAGE:
            return None
        flag, equals, value = word.partition("=")
        if flag.startswith("--") and flag[2:].replace("_", "-") == name:
            return value if equals else next(iter(arguments[i + 1 :]), "")
    return None


def _no_rendezvous(parameters: object) -> NoReturn:
    raise ValueError("--rdzv-backend steel_megatron is no rendezvous method: take c10d")
