"""The kernels of a run: as its flags ask, and the same on every rank."""

from __future__ import annotations

import torch

from helpers.processes import run_processes
from steel_megatron.config import ConfigError, ParallelConfig, TrainingConfig
from steel_megatron.ops import backends
from steel_megatron.ops.native import library
from steel_megatron.parallel.mesh import Mesh
from steel_megatron.training.kernels import choose_kernels


def starts(cases: list[list[bool]]) -> list[str]:
    """For each case what choosing says on this rank, where compiled kernels are there on some ranks."""
    mesh = Mesh.create(ParallelConfig(), torch.device("cpu"))
    said = []
    for built_on in cases:
        there = built_on[mesh.world.rank]
        library.built = lambda device_type, there=there: there
        try:
            choose_kernels(TrainingConfig(), mesh)
            said.append(backends.choice("rms_norm", "cpu").implementation)
        except ConfigError as error:
            said.append(str(error))
    return said


def test_ranks_agree_or_the_run_does_not_start():
    first, second = run_processes(starts, 2, [[True, True], [False, False], [True, False]])
    assert first[:2] == second[:2] == ["steel", "torch"]
    for said in (first[2], second[2]):
        assert "RMSNorm: steel on rank 0, torch on rank 1" in said
        assert "--kernel-backend" in said


def test_one_process_follows_its_flags(monkeypatch):
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    choose_kernels(TrainingConfig(kernel_backend="torch", attention_backend="unfused"), Mesh.single())
    assert backends.choice("rms_norm", "cpu").implementation == "torch"
    assert backends.choice("attention", "cpu").implementation == "unfused"
