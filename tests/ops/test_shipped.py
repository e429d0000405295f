"""What shipped CPU times say, and what ``auto`` makes of them."""

from __future__ import annotations

import pytest

from steel_megatron.ops import shipped


@pytest.fixture(params=["new_set"])
def times(request, monkeypatch):
    monkeypatch.setattr(shipped, "instruction_set", lambda: request.param)
    known = {"faster": 2.0, "even": 1.0, "a_little_slower": 0.95, "slower": 0.5, "rms_norm": 0.5}
    monkeypatch.setitem(shipped.SPEEDS, request.param, known)


@pytest.mark.parametrize(
    ("operation", "slower", "words"),
    [
        ("faster", False, "2 × as fast as torch's on new_set"),
        ("even", False, "as fast as torch's on new_set"),
        ("a_little_slower", False, "as fast as torch's on new_set"),
        ("slower", True, "torch's was 2 × as fast as ours"),
        ("rms_norm", False, "0.5 × as fast as torch's on new_set, by shipped times, but it adds the residual"),
        ("untimed", False, "not timed on new_set, `steel doctor --measure`"),
    ],
)
def test_ours_is_left_only_where_it_is_slower_beyond_noise(times, operation, slower, words):
    assert shipped.ours_is_slower(operation) == slower
    assert shipped.reason(operation).startswith(words)


def test_another_architecture_is_named(monkeypatch):
    monkeypatch.setattr(shipped.platform, "machine", lambda: "aarch64")
    assert shipped.instruction_set() == "aarch64"
    assert shipped.speed("rms_norm") is None
