"""The kernels of a run: as its flags ask, and the same on every rank."""

from __future__ import annotations

import torch
import torch.distributed as dist

from helpers.processes import run_processes
from steel_megatron.config import ConfigError, ParallelConfig, TrainingConfig
from steel_megatron.ops import available, backends
from steel_megatron.parallel.mesh import Mesh
from steel_megatron.training.kernels import choose_kernels


def start(built_on: list[bool]) -> str:
    """What choosing says on a rank whose compiled kernels are there or not."""
    there = built_on[dist.get_rank()]
    available.library.built = lambda device_type: there
    mesh = Mesh.create(ParallelConfig(), torch.device("cpu"))
    try:
        choose_kernels(TrainingConfig(), mesh)
    except ConfigError as error:
        return str(error)
    return backends.choice("rms_norm", "cpu").implementation


def test_ranks_agree_or_the_run_does_not_start():
    assert run_processes(start, 2, [True, True]) == ["steel", "steel"]
    assert run_processes(start, 2, [False, False]) == ["torch", "torch"]
    for said in run_processes(start, 2, [True, False]):
        assert "RMSNorm: steel on rank 0, torch on rank 1" in said
        assert "--kernel-backend" in said


def test_one_process_follows_its_flags(monkeypatch):
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    choose_kernels(TrainingConfig(kernel_backend="torch", attention_backend="unfused"), Mesh.single())
    assert backends.choice("rms_norm", "cpu").implementation == "torch"
    assert backends.choice("attention", "cpu").implementation == "unfused"
