"""How a process joins its run: what torchrun told it, its device, the addresses it talks from, its process groups."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
from collections.abc import Iterable
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from steel_megatron.config import ConfigError, ParallelConfig
from steel_megatron.config.launcher import Launch, launch_from
from steel_megatron.parallel.grid import Grid, group_options, group_timeout
from steel_megatron.parallel.places import axis_order, axis_sizes
from steel_megatron.parallel.processes import flight, operations
from steel_megatron.parallel.processes.addresses import LOOPBACK, interface_towards, is_known, is_own
from steel_megatron.parallel.processes.meeting import common_name
from steel_megatron.parallel.processes.watch import Watch, keep_watch, stop_watch

log = logging.getLogger(__name__)

CONNECTIONS = "CUDA_DEVICE_MAX_CONNECTIONS"
FREE_OF_CONNECTIONS = 10.0  # from this compute capability on kernels start in order of their streams' priority anyway


def initialize(parallel: ParallelConfig, device_choice: str = "auto") -> Grid:
    """Joins the run that torchrun started, or makes a grid of one process when it did not.

    Args:
        parallel: layout, backend and timeout.
        device_choice: ``auto`` (CUDA if present), ``cpu`` or ``cuda``.

    Raises:
        ConfigError: no such device, a layout that the processes do not fill, or half of torchrun's variables.
    """
    launch = launch_from(os.environ)
    sizes = axis_sizes(parallel, launch.world_size if launch else 1)
    order = axis_order(parallel.rank_order)  # a wrong order is refused before processes wait for one another
    if launch is not None and order[0] == "tp" and launch.local_world_size % sizes["tp"]:
        raise ConfigError(
            f"tensor parallel {sizes['tp']} with {launch.local_world_size} processes per node",
            rule="a tensor-parallel group stays inside a node",
            fix="choose a --tensor-model-parallel-size that divides the processes per node",
        )
    if device_choice != "cpu" and sizes["tp"] > 1 and parallel.overlap_tensor_parallel:
        keep_launches_in_order(launch is None or launch.rank == 0)
    device = choose_device(device_choice, launch.local_rank if launch else 0)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if launch is None:
        return Grid.single(device)
    if launch.world_size == 1:
        keep_watch(Watch(launch.rank, launch.neighbours, None, launch.under_torchrun))
        return Grid.single(device)
    join(launch, parallel, device, tensor_parallel_alone=sizes["tp"] == launch.world_size)
    return Grid.create(parallel, device)


def join(launch: Launch, parallel: ParallelConfig, device: torch.device, tensor_parallel_alone: bool) -> None:
    """Makes the group of all processes, and starts this one's watch before, so that a failure in here is heard of."""
    choose_addresses(launch)
    timeout = timedelta(minutes=parallel.distributed_timeout_minutes)
    backend = choose_backend(parallel.distributed_backend, device)
    store, rank, world_size = next(rendezvous("env://", launch.rank, launch.world_size, timeout=timeout))
    store.set_timeout(timeout)
    run = common_name(store, rank, world_size, timeout)
    ours, store = dist.PrefixStore(f"{run}/watch", store.clone()), dist.PrefixStore(run, store)
    keep_watch(Watch(rank, launch.neighbours, ours, launch.under_torchrun, world_size, timeout.total_seconds()))
    if device.type == "cuda":
        flight.switch_on(os.environ)
        refuse_shared_gpus(launch, dist.PrefixStore("gpu", store), torch.cuda.get_device_properties(device).uuid)
    dist.init_process_group(
        backend,
        store=dist.PrefixStore("groups", store),
        rank=rank,
        world_size=world_size,
        timeout=group_timeout(parallel),
        device_id=device if device.type == "cuda" else None,
        pg_options=group_options(parallel, device, high_priority=tensor_parallel_alone),
    )


def shutdown() -> None:
    """Leaves the run when all went well, with all other ranks; safe to call when there is none.

    Never after an exception: NCCL's destroy waits for the peers, which wait for this rank in a collective.
    """
    stop_watch()
    if dist.is_available() and dist.is_initialized():
        with operations.waiting("the end of the run", "world", tuple(range(dist.get_world_size()))):
            dist.barrier()  # nobody takes its store and sockets away from the others
        dist.destroy_process_group()


def choose_device(choice: str, local_rank: int) -> torch.device:
    """The device of this process among those of its node.

    A process that sees one GPU takes it, whatever its number on the node: ``srun --gpus-per-task``, and every launcher
    that sets CUDA_VISIBLE_DEVICES for each process. :func:`refuse_shared_gpus` sees to it that no two take the same.
    """
    if choice == "cpu" or (choice == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError("--device cuda, but torch sees no CUDA device", fix="use --device auto or cpu")
    visible = torch.cuda.device_count()
    if visible == 1:
        return torch.device("cuda", 0)
    if local_rank >= visible:
        raise ConfigError(
            f"process {local_rank} of this node with {visible} GPUs",
            rule="each process has a GPU of its own",
            fix="start fewer processes per node, or use --device cpu",
        )
    return torch.device("cuda", local_rank)


def refuse_shared_gpus(launch: Launch, store: dist.Store, own: object) -> None:
    """Refuses two processes on one GPU, which NCCL would do with a message that names neither.

    Args:
        store: of this run, for this check alone.
        own: the GPU's unique identifier.
    """
    store.set(str(launch.rank), str(own))
    if torch.cuda.device_count() > 1:
        return  # then the processes of a node count through the GPUs
    store.wait([str(other) for other in launch.neighbours])
    sharing = [other for other in launch.neighbours if store.get(str(other)).decode() == str(own)]
    if len(sharing) > 1:
        raise ConfigError(
            f"ranks {' and '.join(map(str, sharing))} on one GPU ({own}), the only one that they see",
            rule="each process has a GPU of its own",
            fix="start one process per GPU (torchrun --nproc-per-node, or srun --gpus-per-task=1), or use --device cpu",
        )


def choose_backend(choice: str, device: torch.device) -> str:
    """The backend string for torch; with GPUs, tensors in host memory still travel over gloo."""
    if choice == "nccl" and device.type == "cpu":
        raise ConfigError("--distributed-backend nccl on CPU", rule="NCCL needs GPUs", fix="use gloo or auto")
    if device.type == "cpu":
        return "gloo"
    return "gloo" if choice == "gloo" else "cpu:gloo,cuda:nccl"


def choose_addresses(launch: Launch) -> None:
    """Sees to it that the processes find one another on machines whose own name leads nowhere, or elsewhere.

    On one machine under torchrun they talk over the loopback interface then. Over several, gloo, which carries what is
    in host memory also beside NCCL, would listen at the address of the machine's name: it is told the interface that
    leads to MASTER_ADDR, unless GLOO_SOCKET_IFNAME names one.
    """
    master = os.environ["MASTER_ADDR"]
    on_one_machine = launch.local_world_size == launch.world_size
    if on_one_machine and launch.under_torchrun and not is_own(master):
        os.environ["MASTER_ADDR"] = LOOPBACK
        log.info("MASTER_ADDR=%s is no address of this machine: its processes talk over %s", master, LOOPBACK)
        return
    if not is_known(master):
        raise ConfigError(
            f"MASTER_ADDR={master}: {socket.gethostname()} knows no such name",
            rule="the processes of a run meet at a name or address that each of their machines can look up",
            fix="give the first node's address (torchrun --local-addr there), or add its name to /etc/hosts here",
        )
    if on_one_machine or "GLOO_SOCKET_IFNAME" in os.environ:
        return
    interface = interface_towards(master)
    if interface is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = interface
        log.info("gloo talks over interface %s, which leads to %s (GLOO_SOCKET_IFNAME)", interface, master)


def keep_launches_in_order(tell: bool) -> None:
    """Makes GPUs before Blackwell start kernels in the order in which the host queues them.

    A tensor-parallel collective is queued right before the matmul that it shall run beside. With more than one hardware
    queue the matmul may start first and take all multiprocessors, and the collective waits for its end. The driver
    reads the variable when CUDA starts, so this comes before; what the user has set stays.
    """
    if CONNECTIONS in os.environ:
        return
    found = compute_capabilities()
    if found and min(found) < FREE_OF_CONNECTIONS:
        os.environ[CONNECTIONS] = "1"
        if tell:
            log.info("%s=1, so that tensor-parallel communication starts before the matmul beside it", CONNECTIONS)


def compute_capabilities() -> list[float]:
    """Of the GPUs of this machine, without starting CUDA; empty where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    lines = subprocess.run(command, check=False, capture_output=True, text=True).stdout.split()
    return list(_numbers(lines))


def _numbers(words: Iterable[str]) -> Iterable[float]:
    for word in words:
        try:
            yield float(word)
        except ValueError:
            continue
