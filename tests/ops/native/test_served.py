"""Which cards and drivers the compiled CUDA kernels serve, and that it is said before a kernel is launched."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from steel_megatron.config import ConfigError
from steel_megatron.ops import backends
from steel_megatron.ops.native import library, served


@pytest.mark.parametrize(
    ("architectures", "capability", "runs"),
    [
        ("8.0 8.9 9.0+PTX", (8, 0), True),
        ("8.0 8.9 9.0+PTX", (8, 6), True),  # code of 8.0
        ("8.0 8.9 9.0+PTX", (7, 5), False),
        ("8.0 8.9 9.0+PTX", (10, 0), True),  # PTX
        ("8.0 8.9 9.0+PTX", (12, 0), True),
        ("8.0 9.0", (12, 0), False),
        ("9.0a", (9, 0), True),
        ("9.0a+PTX", (10, 0), False),  # a letter: that capability alone
        ("10.3f", (10, 3), True),
        ("", (7, 0), True),  # nobody said what it was compiled for
    ],
)
def test_cards(architectures, capability, runs):
    assert (served.why_not_card(capability, architectures) is None) == runs


@pytest.mark.parametrize(
    ("driver", "runtime", "runs"), [(12080, 13000, False), (12080, 12090, True), (13010, 12080, True), (0, 13000, True)]
)
def test_drivers(driver, runtime, runs):
    assert (served.why_not_driver(driver, runtime) is None) == runs


@pytest.fixture
def turing_card(monkeypatch):
    monkeypatch.setattr(library, "built", lambda device_type: True)
    built = SimpleNamespace(architectures="8.0 8.9 9.0+PTX", runtime=0)
    monkeypatch.setattr(library, "cuda_library", lambda: built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})


def test_a_card_that_is_not_served_is_told_before_a_kernel_is_launched(turing_card):
    with pytest.raises(ConfigError, match=r"for compute capability 8.0, 8.9, 9.0\+PTX, and this card has 7.5"):
        backends.use_kernel_backend("steel", "cuda")
    chosen = backends.choice("rope", "cuda")
    assert chosen.implementation == "torch"
    assert "this card has 7.5" in chosen.reason


def test_a_build_without_cuda_kernels_says_why(monkeypatch, tmp_path):
    record = tmp_path / "build_info.json"
    record.write_text(json.dumps({"_ops": "built", "cuda kernels": "not built: nvcc was not found"}))
    monkeypatch.setattr(served, "BUILD_RECORD", record)
    monkeypatch.setattr(library, "built", lambda device_type: False)
    assert served.why_not("cuda") == "compiled kernels for cuda were not built (nvcc was not found)"
    assert served.why_not("cpu") == "compiled kernels for cpu were not built"


@pytest.mark.skipif(not library.CUDA_LIBRARY.exists(), reason=str(served.why_not("cuda")))
def test_the_library_tells_what_it_was_built_for():
    found = library.cuda_library()
    assert served.why_not_card((8, 0), found.architectures) is None
    assert served.why_not_card((99, 0), found.architectures) is None
    assert found.runtime >= 11080
