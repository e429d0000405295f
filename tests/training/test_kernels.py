"""The kernels of a run: as its flags ask, and the same on every rank."""

from __future__ import annotations

import json

import pytest
import torch

from helpers.processes import run_processes
from helpers.tiny_run import run_config, train
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


def test_a_run_learns_the_same_through_other_kernels(tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    losses = {}
    for flags in ((), ("--attention-backend", "flash"), ("--attention-backend", "local", "--kernel-backend", "torch")):
        folder = tmp_path / str(len(losses))
        folder.mkdir()
        train(run_config(folder, train_iters=4, reset_attention_mask=True), *flags)
        lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
        losses[flags] = [json.loads(line)["loss"] for line in lines if "loss" in line]
    usual, *others = losses.values()
    assert len(usual) == 4
    for found in others:
        assert found == pytest.approx(usual, rel=5e-3)
    assert others[-1] != usual, "the flags chose nothing else"


def test_a_run_without_what_its_flags_ask_for_does_not_start(tmp_path):
    said = train(run_config(tmp_path), "--attention-backend", "flash3", status=2)
    assert "--attention-backend flash3 on cpu" in said
