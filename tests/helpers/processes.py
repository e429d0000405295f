"""Runs a test's function in several real processes that talk over gloo."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import pickle
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

# A server that has imported torch and most of the package once forks the children: a group starts in well under a
# second. Checkpoints and torch.compile's marks load some 1,000 modules more than torch, 3 s of CPU time in each child.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["torch", "torch.distributed", "torch._dynamo", "steel_megatron.training.run"])


def run_processes(
    function: Callable[..., Any],
    world_size: int,
    *args: Any,
    init_group: bool = True,
    timeout: float = 180.0,
    env: dict[str, str] | None = None,
) -> list[Any]:
    """Calls ``function(*args)`` in ``world_size`` processes and returns their results in order of rank.

    Args:
        function: a function at the top level of a module (a test file will do); it asks torch.distributed for its rank.
        args: what it is called with; pickled, as its result is.
        init_group: initialise torch.distributed over gloo. Torchrun's variables are set in any case.
        timeout: seconds after which all processes are killed and TimeoutError is raised.
        env: further environment variables of the processes.

    A process that raises or dies fails the call with its rank and traceback; the others are killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            "WORLD_SIZE": str(world_size),
            "LOCAL_WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            **(env or {}),
        }
        store = os.path.join(folder, "store") if init_group else None
        source = (function.__module__, sys.modules[function.__module__].__file__, function.__qualname__)
        processes, readers = [], []
        for rank in range(world_size):
            reader, writer = _CONTEXT.Pipe(duplex=False)
            job = pickle.dumps((source, pickle.dumps(args)))
            process = _CONTEXT.Process(
                target=_child, args=(job, rank, world_size, variables, store, writer), daemon=True
            )
            process.start()
            writer.close()
            processes.append(process)
            readers.append(reader)
        try:
            return _collect(readers, time.monotonic() + timeout)
        finally:
            for process in processes:
                if process.is_alive():
                    process.join(0.0 if sys.exc_info()[0] else 20.0)
                    process.kill()
                process.join()


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _collect(readers: list[Connection], deadline: float) -> list[Any]:
    results: dict[int, Any] = {}
    pending = dict(zip(readers, range(len(readers)), strict=True))
    while pending:
        ready = wait(list(pending), max(deadline - time.monotonic(), 0.0))
        if not ready:
            raise TimeoutError(f"ranks {sorted(pending.values())} of {len(readers)} did not finish in time")
        for reader in ready:
            rank = pending.pop(reader)  # type: ignore[call-overload]  # wait() returns what it was given
            try:
                good, payload = pickle.loads(reader.recv_bytes())  # type: ignore[union-attr]  # as above
            except EOFError:
                raise RuntimeError(f"rank {rank} died without a word") from None
            if not good:
                raise RuntimeError(f"rank {rank} failed:\n{payload}")
            results[rank] = payload
    return [results[rank] for rank in range(len(readers))]


def _child(
    job: bytes, rank: int, world_size: int, variables: dict[str, str], store: str | None, writer: Connection
) -> None:
    os.environ.update(variables, RANK=str(rank), LOCAL_RANK=str(rank))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    try:
        if store is not None:
            dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
        source, args = pickle.loads(job)
        function = _function(*source)  # first, because the arguments' classes may live in the same module
        result = function(*pickle.loads(args))
        message = pickle.dumps((True, result))
        if dist.is_initialized():
            dist.destroy_process_group()
    except BaseException:
        message = pickle.dumps((False, traceback.format_exc()))
    writer.send_bytes(message)
    writer.close()


def _function(module_name: str, path: str, qualname: str) -> Callable[..., Any]:
    """The function, from its file: pytest's modules cannot be imported by name."""
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, Path(path))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
    found: Any = sys.modules[module_name]
    for name in qualname.split("."):
        found = getattr(found, name)
    return found
