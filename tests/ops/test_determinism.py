"""Deterministic mode: what it sets, what it leaves, and what it refuses."""

from __future__ import annotations

import os

import pytest
import torch

from steel_megatron.config import ConfigError
from steel_megatron.ops.determinism import deterministic_mode, set_variables

VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "NCCL_ALGO", "NVTE_ALLOW_NONDETERMINISTIC_ALGO")


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what is set below is taken back
        monkeypatch.delenv(name)


def switches() -> tuple[bool, ...]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,
    )


def test_the_switches_are_put_back_after_an_error():
    before = switches()
    inside = []

    def fail() -> None:
        inside.append(switches())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), deterministic_mode(True):
        fail()
    assert inside == [(True, True, False, False)]
    assert switches() == before


def test_off_changes_nothing():
    before = switches()
    with deterministic_mode(False):
        assert switches() == before
        assert not any(name in os.environ for name in VARIABLES)


def test_what_the_user_has_set_and_repeats_itself_stays(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    monkeypatch.setenv("NCCL_ALGO", "Tree,Ring")
    set_variables()
    assert [os.environ[name] for name in VARIABLES] == [":16:8", "Tree,Ring", "0"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("CUBLAS_WORKSPACE_CONFIG", ":0:0"), ("NCCL_ALGO", "NVLS"), ("NCCL_ALGO", "ring,nvls")],
)
def test_what_does_not_repeat_itself_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"{name}={value} with --deterministic-mode") as error:
        set_variables()
    assert "unset it" in str(error.value)


def test_cuda_that_has_started_is_too_late(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match="after CUDA has started"):
        set_variables()
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    set_variables()
