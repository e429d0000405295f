"""One policy says what is used and why."""

from __future__ import annotations

import pytest
import torch

from steel_megatron.config import ConfigError
from steel_megatron.ops import backends


def test_report_names_an_implementation_and_a_reason_for_each_operation():
    found = backends.report()
    assert {"attention", "attention within documents", "RMSNorm", "RoPE", "cross entropy", "optimizer"} <= found.keys()
    assert all("(" in text for name, text in found.items() if not name.startswith("installed"))


@pytest.mark.parametrize(
    ("device", "dtype", "head_dim", "implementation"),
    [
        ("cpu", torch.bfloat16, 64, backends.PER_DOCUMENT),
        ("cuda", torch.bfloat16, 64, backends.VARLEN),
        ("cuda", torch.float16, 256, backends.VARLEN),
        ("cuda", torch.float32, 64, backends.PER_DOCUMENT),
        ("cuda", torch.bfloat16, 320, backends.PER_DOCUMENT),
    ],
)
def test_varlen_attention_is_used_where_its_kernel_runs(monkeypatch, device, dtype, head_dim, implementation):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # the choice for a card that has what it needs
    backends.packed_attention_choice.cache_clear()
    assert backends.packed_attention_choice(device, dtype, head_dim).implementation == implementation


def test_old_cards_attend_document_by_document(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    backends.packed_attention_choice.cache_clear()
    assert backends.packed_attention_choice("cuda").implementation == backends.PER_DOCUMENT
    backends.packed_attention_choice.cache_clear()


def test_installed_packages_that_are_not_used_are_said(monkeypatch):
    monkeypatch.setattr(backends, "installed_version", lambda package: "9.9" if package == "apex" else None)
    assert backends.report()["installed, not used by this version"] == "apex 9.9"


def test_versions_come_from_the_environment():
    assert backends.installed_version("torch") == torch.__version__
    assert backends.installed_version("no-such-package") is None


def test_steel_without_its_kernels_is_refused(monkeypatch):
    monkeypatch.setattr(backends.library, "built", lambda device_type: False)
    with pytest.raises(ConfigError, match="pip install"):
        backends.use_kernel_backend("steel", "cpu")
    with pytest.raises(ConfigError, match="one of auto, steel, torch"):
        backends.use_kernel_backend("liger", "cpu")


@pytest.mark.parametrize(
    ("requested", "built", "device", "implementation"),
    [
        ("auto", True, "cpu", "steel"),
        ("auto", True, "cuda", "torch"),
        ("auto", False, "cpu", "torch"),
        ("torch", True, "cpu", "torch"),
        ("steel", True, "cuda", "steel"),
    ],
)
def test_kernels_are_taken_where_measured_or_asked_for(monkeypatch, requested, built, device, implementation):
    monkeypatch.setattr(backends, "_requested", "auto")
    monkeypatch.setattr(backends.library, "built", lambda device_type: built)
    backends.use_kernel_backend(requested, device)
    assert backends.kernel_choice("rms_norm", device).implementation == implementation


def test_other_types_go_to_torch(monkeypatch):
    monkeypatch.setattr(backends.library, "built", lambda device_type: True)
    half, single = torch.ones(2, dtype=torch.bfloat16), torch.ones(2)
    assert backends.serves("rms_norm", half, half)
    assert not backends.serves("rms_norm", half, single)
    assert not backends.serves("rms_norm", single.double())
