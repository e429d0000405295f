"""The kernels of a run: as its flags ask, and the same on every rank."""

from __future__ import annotations

import json
import os

import pytest
import torch

from helpers.processes import run_processes
from helpers.tiny_run import run_config, train
from steel_megatron.config import ConfigError, ParallelConfig, TrainingConfig
from steel_megatron.ops import backends, cpu_products
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


def products_of_different_machines() -> str:
    mesh = Mesh.create(ParallelConfig(), torch.device("cpu"))
    os.environ[cpu_products.VARIABLE] = ("torch", "fp32")[mesh.world.rank]
    try:
        choose_kernels(TrainingConfig(), mesh)
    except ConfigError as error:
        return str(error)
    return "nothing"


def test_ranks_multiply_alike_or_the_run_does_not_start():
    for said in run_processes(products_of_different_machines, 2):
        assert "bf16 matmuls on the CPU: torch" in said
        assert "on rank 0, fp32 arithmetic" in said
        assert "STEEL_CPU_PRODUCTS=fp32 on every machine" in said


def test_a_run_in_16_bits_learns_the_same_by_fp32_products(tmp_path, monkeypatch):
    losses = {}
    for way in ("torch", "fp32"):
        monkeypatch.setenv(cpu_products.VARIABLE, way)
        folder = tmp_path / way
        folder.mkdir()
        said = train(run_config(folder, train_iters=4, precision="bf16"))
        assert ("matmuls: stored in bf16, multiplied by fp32 arithmetic" in said) == (way == "fp32")
        lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
        losses[way] = [json.loads(line)["loss"] for line in lines if "loss" in line]
    assert losses["fp32"] == pytest.approx(losses["torch"], rel=5e-3)
    assert losses["fp32"] != losses["torch"], "the variable chose nothing else"


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
