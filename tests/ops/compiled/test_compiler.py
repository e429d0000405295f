"""How functions are compiled, whether they can be, and what then serves GPUs without our kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from steel_megatron.ops import available, backends
from steel_megatron.ops.compiled import compiler


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(compiler.shutil, "which", lambda name: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(compiler, "why_not_importable", lambda *names, functions: None)
    return monkeypatch


def test_it_needs_a_compiler(no_compiler):
    assert "C++ compiler" in compiler.why_not("cpu")
    assert "C compiler" in compiler.why_not("cuda")
    no_compiler.setattr(compiler, "why_not_importable", lambda *names, functions: "triton is not installed")
    assert compiler.why_not("cuda") == "triton is not installed"


@pytest.mark.parametrize(
    ("variable", "command", "device"),
    [("CC", "clang", "cuda"), ("CC", "gcc", "cuda"), ("CXX", "clang++", "cpu"), ("CXX", "g++", "cpu")],
)
def test_any_compiler_will_do_named_or_found(no_compiler, variable, command, device):
    no_compiler.setattr(compiler.shutil, "which", lambda name: f"/usr/bin/{name}" if name == command else None)
    assert compiler.why_not(device) is None
    assert compiler.why_not("cpu" if device == "cuda" else "cuda") is not None
    no_compiler.setattr(compiler.shutil, "which", lambda name: None)
    no_compiler.setenv(variable, "/opt/own/compiler")
    assert compiler.why_not(device) is None


def test_old_cards_are_left_out(no_compiler):
    no_compiler.setattr(torch.cuda, "is_available", lambda: True)
    no_compiler.setattr(torch.cuda, "get_device_capability", lambda: (6, 1))
    no_compiler.setenv("CC", "gcc")
    assert compiler.why_not("cuda") == "it needs compute capability 7.0, not 6.1"


@compiler.fused
def _marked(x: Tensor, offset: float) -> Tensor:
    """Says how it was run."""
    return x + offset + (100.0 if torch.compiler.is_compiling() else 0.0)


@compiler.fused
def _add_in_place(x: Tensor, y: Tensor | None) -> None:
    x.add_(1.0 if y is None else y)


def test_gradients_are_not_recorded_and_leaves_can_be_written_to(as_written):
    x = torch.ones(3, requires_grad=True)
    assert not _marked(x * 2, 1.0).requires_grad
    _add_in_place(x, torch.ones(3, requires_grad=True))
    _add_in_place(x[1:], None)
    assert x.tolist() == [2.0, 3.0, 3.0]
    assert x.requires_grad
    assert torch.is_grad_enabled()


def test_it_is_compiled_when_first_called_and_runs_as_written_past_torchs_limit():
    with torch._dynamo.config.patch(recompile_limit=1):
        assert _marked(torch.zeros(2), 1.0).tolist() == [101.0, 101.0]
        assert _marked(torch.zeros(2, dtype=torch.float64), 1.0).tolist() == [1.0, 1.0]
        assert _marked(torch.zeros(2), 1.0).tolist() == [101.0, 101.0]


def test_it_serves_gpus_without_our_kernels(monkeypatch):
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    monkeypatch.setattr(available.library, "built", lambda device_type: False)
    there = available.Backend(lambda device_type: None, lambda *tensors: True)
    monkeypatch.setitem(backends.BACKENDS, "compiled", there)
    for operation in (name for name, known in backends.OPERATIONS.items() if "compiled" in known.backends):
        chosen = backends.choice(operation, "cuda")
        assert chosen.implementation == "compiled"
        assert "steel: compiled kernels for cuda were not built" in chosen.reason
    assert backends.slow_paths("cuda") is None or "cross entropy" not in backends.slow_paths("cuda")
