"""The kernels of a run: as its flags ask, as was measured, and the same on every rank."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest
import torch

from helpers.processes import run_processes
from helpers.tiny_run import run_config, train
from steel_megatron.config import ConfigError, ModelConfig, ParallelConfig, TrainingConfig
from steel_megatron.ops import backends, cpu_products, measured
from steel_megatron.ops.native import library
from steel_megatron.parallel.grid import Grid
from steel_megatron.training.startup import kernels
from steel_megatron.training.startup.kernels import choose_kernels

MODEL = ModelConfig(hidden_size=32, ffn_hidden_size=64, num_attention_heads=4, num_query_groups=2, vocab_size=64)


def starts(cases: list[list[bool]]) -> list[str]:
    """For each case what choosing says on this rank, where compiled kernels are there on some ranks."""
    grid = Grid.create(ParallelConfig(), torch.device("cpu"))
    said = []
    for built_on in cases:
        there = built_on[grid.world.rank]
        library.built = lambda device_type, there=there: there
        try:
            choose_kernels(TrainingConfig(), grid, MODEL)
            said.append(backends.choice("rms_norm", "cpu").implementation)
        except ConfigError as error:
            said.append(str(error))
    return said


def test_ranks_agree_or_the_run_does_not_start():
    first, second = run_processes(starts, 2, [[True, True], [False, False], [True, False]])
    assert first[:2] == second[:2] == ["steel", "torch"]
    for said in (first[2], second[2]):
        assert "activation: steel on rank 0, torch on rank 1" in said
        assert "--kernel-backend" in said


def products_of_different_machines() -> str:
    grid = Grid.create(ParallelConfig(), torch.device("cpu"))
    os.environ[cpu_products.VARIABLE] = ("torch", "fp32")[grid.world.rank]
    try:
        choose_kernels(TrainingConfig(), grid, MODEL)
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
    choose_kernels(TrainingConfig(kernel_backend="torch", attention_backend="unfused"), Grid.single(), MODEL)
    assert backends.choice("rms_norm", "cpu").implementation == "torch"
    assert backends.choice("attention", "cpu").implementation == "unfused"


RECORD = {"rms_norm": {"steel": 0.001, "torch": 0.002}, "rope": {"torch": 0.001, "steel": 0.003}}


@pytest.fixture
def unknown_gpu(monkeypatch, tmp_path):
    """A GPU, by its device's name only, of which nothing was measured; how often it was measured since."""
    monkeypatch.setenv(measured.FILE_VARIABLE, str(tmp_path / "cache" / "times.json"))
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    monkeypatch.setattr(library, "built", lambda device_type: True)
    measured.use("cuda", None)
    times = []

    def measure(device, shape):
        times.append(shape)
        failed = {"activation": {"steel": "its results are 3 of their norm away from fp32's"}}
        refused = {
            operation: dict.fromkeys(known.backends, "of no interest")
            for operation, known in backends.OPERATIONS.items()
        }
        return measured.record("tiny", RECORD, failed, refused, run=shape.run)

    monkeypatch.setattr(kernels, "measure_apart", measure)
    yield times
    measured.for_run("")
    measured.use("cuda", None)


def gpu_mesh() -> Grid:
    return Grid.single(torch.device("cuda", 0))


def restart():
    measured.use("cuda", None)
    backends.forget_orders()


def test_the_first_start_on_a_card_measures_and_later_ones_remember(unknown_gpu, caplog):
    caplog.set_level("INFO")
    choose_kernels(TrainingConfig(), gpu_mesh(), MODEL)
    assert len(unknown_gpu) == 1
    assert backends.choice("rms_norm", "cuda").implementation == "steel"
    assert backends.choice("rope", "cuda").implementation == "torch"
    assert "RMSNorm steel 1 ms (torch 2); RoPE torch 1 ms (steel 3)" in caplog.text
    for _ in range(2):
        restart()
        caplog.clear()
        choose_kernels(TrainingConfig(), gpu_mesh(), MODEL)
        assert len(unknown_gpu) == 1
        assert backends.choice("rope", "cuda").implementation == "torch"
        assert "activation by steel failed its self-test and is not used by auto" in caplog.text


def test_another_width_or_precision_is_measured_as_well(unknown_gpu):
    wide = dataclasses.replace(MODEL, hidden_size=64)
    for model, precision in ((MODEL, "bf16"), (wide, "bf16"), (wide, "fp16"), (MODEL, "bf16"), (wide, "fp16")):
        restart()
        choose_kernels(TrainingConfig(precision=precision), gpu_mesh(), model)
        assert measured.times("cuda")["run"].startswith(f"hidden {model.hidden_size}, ")
        assert measured.times("cuda")["run"].endswith(precision)
    assert [(shape.model.hidden_size, shape.dtype) for shape in unknown_gpu] == [
        (32, torch.bfloat16),
        (64, torch.bfloat16),
        (64, torch.float16),
    ]
    restart()
    measured.write("cuda", measured.record("by hand", RECORD, {}, {}))
    assert measured.of_this_run("cuda"), "its own"
    measured.for_run("hidden 128")
    assert measured.of_this_run("cuda"), "what was measured by hand"
    assert measured.times("cuda")["shape"] == "by hand"


def test_where_nothing_may_be_measured_the_latest_of_other_runs_count(unknown_gpu):
    choose_kernels(TrainingConfig(), gpu_mesh(), MODEL)
    restart()
    other = dataclasses.replace(MODEL, hidden_size=64)
    choose_kernels(TrainingConfig(measure_kernels=False), gpu_mesh(), other)
    assert len(unknown_gpu) == 1
    assert backends.choice("rope", "cuda").implementation == "torch"


def test_a_home_folder_that_cannot_be_written_keeps_nothing_and_says_so(unknown_gpu, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    (tmp_path / "file").touch()
    monkeypatch.setenv(measured.FILE_VARIABLE, str(tmp_path / "file" / "times.json"))
    choose_kernels(TrainingConfig(), gpu_mesh(), MODEL)
    assert backends.choice("rope", "cuda").implementation == "torch", "as measured"
    assert "not kept, so the next start measures again" in caplog.text
    restart()
    choose_kernels(TrainingConfig(), gpu_mesh(), MODEL)
    assert len(unknown_gpu) == 2


@pytest.mark.parametrize(
    "flags",
    [{"measure_kernels": False}, {"kernel_backend": "steel", "attention_backend": "sdpa"}],
)
def test_where_nothing_is_to_be_measured_the_table_holds(unknown_gpu, flags):
    choose_kernels(TrainingConfig(**flags), gpu_mesh(), MODEL)
    assert unknown_gpu == []
    assert backends.choice("rope", "cuda").implementation == "steel"


def test_a_measurement_that_fails_leaves_the_table(unknown_gpu, monkeypatch, caplog):
    def fails(device, shape):
        raise kernels.MeasuringError("it ended the process (CUDA error: all devices are busy)")

    monkeypatch.setattr(kernels, "measure_apart", fails)
    choose_kernels(TrainingConfig(), gpu_mesh(), MODEL)
    assert backends.choice("rope", "cuda").implementation == "steel"
    assert "kernels were not measured, auto goes by its table: it ended the process (CUDA error: all" in caplog.text


def shares(seconds: dict[str, dict[str, float]]) -> tuple[str, str]:
    """What a rank chooses where rank 0 alone has these times."""
    grid = Grid.create(ParallelConfig(), torch.device("cpu"))
    library.built = lambda device_type: True
    if grid.world.rank == 0:
        measured.use("cpu", measured.record("tiny", seconds, {}, {}))
    choose_kernels(TrainingConfig(), grid, MODEL)
    chosen = backends.choice("rope", "cpu")
    return chosen.implementation, chosen.reason


def test_the_times_of_rank_0_are_everybodys():
    first, second = run_processes(shares, 2, RECORD)
    assert first == second
    assert first[0] == "torch"
    assert "fastest here" in first[1]


def test_a_run_on_a_gpu_with_torchs_operations_alone_is_told_what_it_pays(unknown_gpu, monkeypatch, caplog):
    monkeypatch.setattr(library, "built", lambda device_type: False)
    choose_kernels(TrainingConfig(measure_kernels=False), gpu_mesh(), MODEL)
    assert "cross entropy 11 ×" in caplog.text
    assert "pip install ." in caplog.text


def test_a_run_that_goes_on_with_other_kernels_says_so(tmp_path):
    config = run_config(tmp_path, train_iters=3, save_interval=2)
    train(config)
    assert "other kernels" not in train(config, "--train-iters", "4")
    said = train(config, "--train-iters", "5", "--kernel-backend", "torch")
    assert "RMSNorm steel there, torch here" in said
    assert "not to the last bit" in said


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
