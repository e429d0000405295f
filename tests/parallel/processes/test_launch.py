"""How a process joins its run: torchrun's variables, devices, addresses, groups."""

from __future__ import annotations

import os
import socket
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from helpers.processes import run_processes
from steel_megatron.config import ConfigError, ParallelConfig
from steel_megatron.parallel.grid import group_options
from steel_megatron.parallel.processes import launch
from steel_megatron.parallel.processes.addresses import (
    LOOPBACK,
    address_towards,
    interface_of,
    interface_towards,
    is_own,
)
from steel_megatron.parallel.processes.launch import (
    Launch,
    choose_backend,
    choose_device,
    initialize,
    launch_from,
    shutdown,
)

ON_TWO_NODES = Launch(rank=1, world_size=4, local_rank=1, local_world_size=2, under_torchrun=True)
ALONE = Launch(rank=1, world_size=2, local_rank=1, local_world_size=2, under_torchrun=True)


def test_half_of_torchruns_variables_are_refused():
    assert launch_from({}) is None
    with pytest.raises(ConfigError, match="WORLD_SIZE=2 without RANK, MASTER_ADDR, MASTER_PORT"):
        launch_from({"WORLD_SIZE": "2"})
    launch = launch_from({"WORLD_SIZE": "4", "RANK": "3", "MASTER_ADDR": "x", "MASTER_PORT": "1"})
    assert launch is not None
    assert (launch.rank, launch.world_size, launch.local_rank) == (3, 4, 3)


def test_nccl_needs_a_gpu():
    with pytest.raises(ConfigError, match="nccl on CPU"):
        choose_backend("nccl", torch.device("cpu"))


def see_gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_a_process_takes_the_gpu_of_its_number_or_the_only_one_it_sees(monkeypatch):
    see_gpus(monkeypatch, 8)
    assert choose_device("auto", 5) == torch.device("cuda", 5)
    with pytest.raises(ConfigError, match="process 8 of this node with 8 GPUs"):
        choose_device("auto", 8)
    see_gpus(monkeypatch, 1)
    assert choose_device("auto", 5) == torch.device("cuda", 0)


def test_two_processes_on_one_gpu_are_refused(monkeypatch):
    see_gpus(monkeypatch, 1)
    store = dist.HashStore()
    store.set("0", "GPU-a")
    launch.refuse_shared_gpus(ALONE, store, "GPU-b")
    with pytest.raises(ConfigError, match="ranks 0 and 1 on one GPU"):
        launch.refuse_shared_gpus(ALONE, store, "GPU-a")


def test_neighbours_are_those_that_may_be_on_this_machine():
    assert [*Launch(0, 8, 0, 2).neighbours] == [0, 1]
    assert [*Launch(3, 8, 1, 2).neighbours] == [2, 3, 4]
    assert [*Launch(7, 8, 0, 8).neighbours] == [*range(8)]  # --virtual-local-rank: every local rank is 0


@pytest.mark.parametrize(
    ("capabilities", "given", "becomes"),
    [([8.0, 8.0], None, "1"), ([9.0], None, "1"), ([10.0], None, None), ([], None, None), ([9.0], "8", "8")],
)
def test_gpus_before_blackwell_start_kernels_in_order(monkeypatch, caplog, capabilities, given, becomes):
    monkeypatch.setenv(launch.CONNECTIONS, given or "")  # so that what is set below is undone
    if given is None:
        monkeypatch.delenv(launch.CONNECTIONS)
    monkeypatch.setattr(launch, "compute_capabilities", lambda: capabilities)
    with caplog.at_level("INFO"):
        launch.keep_launches_in_order(tell=True)
    assert os.environ.get(launch.CONNECTIONS) == becomes
    assert (launch.CONNECTIONS in caplog.text) == (becomes == "1")


def test_compute_capabilities_are_read_from_the_driver(monkeypatch):
    monkeypatch.setattr(launch.shutil, "which", lambda _: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(launch.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="8.0\n9.0\nERR!\n"))
    assert launch.compute_capabilities() == [8.0, 9.0]
    monkeypatch.setattr(launch.shutil, "which", lambda _: None)
    assert launch.compute_capabilities() == []


def test_only_the_tensor_parallel_group_runs_at_high_priority(monkeypatch):
    options: Any = SimpleNamespace(Options=lambda **given: given)
    monkeypatch.setattr(dist, "ProcessGroupNCCL", options, raising=False)
    cuda = torch.device("cuda")
    assert group_options(ParallelConfig(), cuda, high_priority=True) == {"is_high_priority_stream": True}
    assert group_options(ParallelConfig(), cuda, high_priority=False) is None
    assert group_options(ParallelConfig(), torch.device("cpu"), high_priority=True) is None
    assert group_options(ParallelConfig(distributed_backend="gloo"), cuda, high_priority=True) is None


def test_a_name_that_leads_elsewhere_is_not_this_machines():
    assert is_own("localhost")
    assert is_own(LOOPBACK)
    assert not is_own("no.such.host.invalid")
    assert not is_own("192.0.2.1")  # an address of nobody


def test_the_interface_that_leads_to_a_host():
    loopback = interface_of(LOOPBACK)
    assert loopback in [name for _, name in socket.if_nameindex()]
    assert interface_towards("localhost") == loopback
    assert interface_of("192.0.2.1") is None
    outwards = address_towards("192.0.2.1")
    if outwards is not None:  # else this machine has no network
        # A name of this machine's loopback says nothing of the way to the others.
        assert interface_towards("127.0.1.1") == interface_of(outwards)


def test_addresses_are_mended_where_they_lead_nowhere(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "no.such.host.invalid")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "given")
    with pytest.raises(ConfigError, match=r"MASTER_ADDR=no\.such\.host\.invalid: .* knows no such name"):
        launch.choose_addresses(ON_TWO_NODES)  # on several nodes it is the user's to mend
    launch.choose_addresses(ALONE)
    assert os.environ["MASTER_ADDR"] == LOOPBACK
    launch.choose_addresses(ON_TWO_NODES)
    assert os.environ["GLOO_SOCKET_IFNAME"] == "given"
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "")
    del os.environ["GLOO_SOCKET_IFNAME"]
    launch.choose_addresses(ON_TWO_NODES)
    assert os.environ["GLOO_SOCKET_IFNAME"] == interface_of(LOOPBACK)


def shared_groups() -> list[bool]:
    """Whether data parallel alone, tensor parallel alone, a pipeline alone, and a stage use the group of all ranks."""
    found = []
    grid = initialize(ParallelConfig(), "cpu")
    for axis, parallel in (
        ("dp", ParallelConfig()),
        ("tp", ParallelConfig(tensor_model_parallel_size=2)),
        ("pp", ParallelConfig(pipeline_model_parallel_size=2)),
    ):
        grid = type(grid).create(parallel, "cpu")
        found.append(getattr(grid, axis).group is dist.group.WORLD)
        found.append(grid.pp.size > 1 or grid.make("tp", "dp").group is dist.group.WORLD)
    shutdown()
    return found


def test_an_axis_that_is_everyone_has_no_group_of_its_own():
    assert run_processes(shared_groups, 2, init_group=False, env={"MASTER_ADDR": "localhost"}) == [[True] * 6] * 2
