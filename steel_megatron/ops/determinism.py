"""``--deterministic-mode``: the same run on the same machines gives the same bits, so a stopped run continues bitwise.

On CPUs that holds anyway. On GPUs some kernels add with atomics, in whatever order their threads come, and libraries
choose algorithms by what is free: torch, cuBLAS, NCCL and Transformer Engine each have a switch, which must be set
before CUDA starts. This package's own kernels add in a fixed order always.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import torch

from steel_megatron.config import ConfigError
from steel_megatron.ops.backends import forget_orders

log = logging.getLogger(__name__)

# Variable → what is set where the user has not, and what else repeats itself.
WORKSPACES = (":4096:8", ":16:8")  # cuBLAS's own documentation names these two
ALGORITHMS = ("ring", "tree", "collnetdirect", "collnetchain", "^nvls")  # NVLink's switches add in any order


@contextlib.contextmanager
def deterministic_mode(on: bool) -> Iterator[None]:
    """Everything inside repeats itself bitwise, or raises; ``on`` False changes nothing. Before CUDA starts.

    Raises:
        ConfigError: a variable is set to what does not repeat itself, or CUDA has started without it.
    """
    if not on:
        yield
        return
    set_variables()
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    empty: Any = torch.utils.deterministic  # its property is not known to type checkers
    fill = empty.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    # That would find a read of memory before it is written, at the price of writing all of it; the tests do that.
    empty.fill_uninitialized_memory = False
    forget_orders()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn
        empty.fill_uninitialized_memory = fill
        forget_orders()


def set_variables() -> None:
    """The switches of libraries that are read from the environment; what is set and repeats itself stays."""
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    if workspace is None and torch.cuda.is_initialized():
        raise ConfigError(
            "--deterministic-mode after CUDA has started without CUBLAS_WORKSPACE_CONFIG",
            rule="cuBLAS reads it when it starts",
            fix=f"set CUBLAS_WORKSPACE_CONFIG={WORKSPACES[0]} before torch.cuda is used",
        )
    if workspace is not None and workspace not in WORKSPACES:
        raise ConfigError(
            f"CUBLAS_WORKSPACE_CONFIG={workspace} with --deterministic-mode",
            rule=f"it is {' or '.join(WORKSPACES)}: else matmuls in several streams may take other algorithms",
            fix="unset it",
        )
    algorithm = os.environ.get("NCCL_ALGO")
    if algorithm is not None and not set(algorithm.lower().split(",")) <= set(ALGORITHMS):
        raise ConfigError(
            f"NCCL_ALGO={algorithm} with --deterministic-mode",
            rule=f"it is one of {', '.join(ALGORITHMS)}: others add in an order that changes from run to run",
            fix="unset it, for Ring",
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", WORKSPACES[0])
    os.environ.setdefault("NCCL_ALGO", "Ring")
    os.environ.setdefault("NVTE_ALLOW_NONDETERMINISTIC_ALGO", "0")
    log.info(
        "deterministic mode: CUBLAS_WORKSPACE_CONFIG=%s, NCCL_ALGO=%s",
        os.environ["CUBLAS_WORKSPACE_CONFIG"],
        os.environ["NCCL_ALGO"],
    )
