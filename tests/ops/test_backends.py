"""One policy says what is used and why."""

from __future__ import annotations

import torch

from steel_megatron.ops import backends


def test_report_names_an_implementation_and_a_reason_for_each_operation():
    found = backends.report()
    assert {"attention", "attention within documents", "RMSNorm", "RoPE", "cross entropy", "optimizer"} <= found.keys()
    assert all("(" in text for name, text in found.items() if not name.startswith("installed"))


def test_packed_attention_needs_a_gpu_for_varlen():
    assert backends.packed_attention_choice("cpu").implementation == "torch SDPA per document"
    assert backends.packed_attention_choice("cuda").implementation == "torch varlen_attn"


def test_installed_packages_that_are_not_used_are_said(monkeypatch):
    monkeypatch.setattr(backends, "installed_version", lambda package: "9.9" if package == "apex" else None)
    assert backends.report()["installed, not used by this version"] == "apex 9.9"


def test_versions_come_from_the_environment():
    assert backends.installed_version("torch") == torch.__version__
    assert backends.installed_version("no-such-package") is None
