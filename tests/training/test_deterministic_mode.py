"""--deterministic-mode: what it sets, what it refuses, and that nothing a step does lacks a deterministic kernel."""

from __future__ import annotations

import os

import pytest
import torch

from helpers.curves import assert_same_checkpoint, curve
from helpers.tiny_run import run_config, train
from steel_megatron.config import ConfigError
from steel_megatron.ops import backends, measured
from steel_megatron.ops.determinism import deterministic_mode

VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "NCCL_ALGO", "NVTE_ALLOW_NONDETERMINISTIC_ALGO")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what is set below is undone
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    "knobs",
    [
        pytest.param({"kernel_backend": "torch", "attention_backend": "sdpa", "hidden_dropout": 0.1}, id="torch"),
        pytest.param({"reset_attention_mask": True, "normalization": "LayerNorm"}, id="auto-packed"),
    ],
)
def test_a_run_in_it_raises_nowhere_and_changes_nothing_on_a_cpu(tmp_path, knobs):
    config = run_config(tmp_path, train_iters=3, **knobs)
    train(config, "--save", str(tmp_path / "plain"))
    output = train(config, "--save", str(tmp_path / "strict"), "--deterministic-mode")
    assert "deterministic mode: CUBLAS_WORKSPACE_CONFIG=:4096:8, NCCL_ALGO=Ring" in output
    assert curve(tmp_path / "strict") == curve(tmp_path / "plain")
    assert_same_checkpoint(tmp_path / "plain", tmp_path / "strict", 3)
    assert "deterministic_mode: true" in (tmp_path / "strict" / "config.yaml").read_text()
    assert not torch.are_deterministic_algorithms_enabled()


def test_it_sets_the_switches_of_torch_and_of_libraries():
    fill = torch.utils.deterministic.fill_uninitialized_memory
    with deterministic_mode(True):
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.backends.cudnn.deterministic
        assert [os.environ[name] for name in VARIABLES] == [":4096:8", "Ring", "0"]
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory == fill
    with deterministic_mode(False):
        assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CUBLAS_WORKSPACE_CONFIG", ":0:0", "CUBLAS_WORKSPACE_CONFIG=:0:0 with --deterministic-mode"),
        ("NCCL_ALGO", "NVLS", "NCCL_ALGO=NVLS with --deterministic-mode"),
        ("NCCL_ALGO", "Ring,NVLSTree", "Ring,NVLSTree"),
    ],
)
def test_what_does_not_repeat_itself_is_refused(monkeypatch, name, value, says):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=says), deterministic_mode(True):
        pass
    assert not torch.are_deterministic_algorithms_enabled()


def test_what_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    monkeypatch.setenv("NCCL_ALGO", "^NVLS")
    with deterministic_mode(True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
        assert os.environ["NCCL_ALGO"] == "^NVLS"


def test_cuda_that_has_started_cannot_be_told_any_more(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match="after CUDA has started"), deterministic_mode(True):
        pass
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with deterministic_mode(True):
        pass


def test_kernels_that_need_not_repeat_themselves_are_left_out(monkeypatch):
    """As on a GPU with everything installed, where cuDNN and apex were measured fastest."""
    for name, backend in backends.BACKENDS.items():
        monkeypatch.setitem(backends.BACKENDS, name, type(backend)(lambda _: None, backend.fits, backend.install))
    fastest = {"attention": ["cudnn", "flash2"], "adamw": ["apex", "steel"]}
    monkeypatch.setattr(measured, "fastest_first", lambda operation, _: fastest.get(operation, []))
    assert backends.chosen("cuda")["attention"] == "cudnn"
    with deterministic_mode(True):
        found = backends.chosen("cuda")
        assert (found["attention"], found["adamw"]) == ("flash2", "steel")
        assert "cudnn: its attention adds gradients" in str(backends.choice("attention", "cuda"))
        for use, name in ((backends.use_attention_backend, "cudnn"), (backends.use_kernel_backend, "apex")):
            with pytest.raises(ConfigError, match=f"{name} with --deterministic-mode"):
                use(name, "cuda")
    assert backends.chosen("cuda")["attention"] == "cudnn"
    backends.forget_orders()
