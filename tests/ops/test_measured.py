"""The file of measured times, and that ``auto`` follows it."""

from __future__ import annotations

import json

import pytest

from steel_megatron.ops import available, backends, measured


@pytest.fixture(autouse=True)
def own_file(monkeypatch, tmp_path):
    monkeypatch.setenv(measured.FILE_VARIABLE, str(tmp_path / "cache" / "times.json"))
    monkeypatch.setattr(backends, "_requested", {})
    monkeypatch.setattr(backends, "_orders", {})
    monkeypatch.setattr(available.library, "built", lambda device_type: True)
    measured.times.cache_clear()
    yield
    measured.times.cache_clear()


@pytest.mark.parametrize(("steel", "winner"), [(0.002, "steel"), (0.004, "torch")])
def test_auto_takes_the_fastest_measured_here(steel, winner):
    measured.write("cpu", "demo", {"rms_norm": {"torch": 0.003, "steel": steel}})
    chosen = backends.choice("rms_norm", "cpu")
    assert chosen.implementation == winner
    assert "fastest here on 2" in chosen.reason
    assert "torch 3 ms" in chosen.reason
    assert backends.choice("rope", "cpu").implementation == "steel"  # not measured: by the table


def test_a_flag_wins_over_times():
    measured.write("cpu", "demo", {"rms_norm": {"torch": 0.001, "steel": 1.0}})
    backends.use_kernel_backend("steel", "cpu")
    assert backends.choice("rms_norm", "cpu").implementation == "steel"


def test_a_measured_backend_that_is_gone_is_passed_over(monkeypatch):
    measured.write("cpu", "demo", {"rms_norm": {"apex": 0.001, "steel": 0.002, "torch": 0.003}})
    assert backends.choice("rms_norm", "cpu").implementation == "steel"


def test_devices_keep_their_own_times(monkeypatch):
    measured.write("cpu", "demo", {"rms_norm": {"torch": 1.0}})
    monkeypatch.setattr(measured, "device_name", lambda device_type: "another")
    measured.times.cache_clear()
    assert measured.times("cpu") is None
    measured.write("cpu", "demo", {"rope": {"torch": 1.0}})
    assert len(json.loads(measured.file().read_text())) == 2
    assert measured.fastest_first("rms_norm", "cpu") == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"NAME": 3}', '{"NAME": {"torch": "1.0", "seconds": {"rms_norm": {"torch": 1}}}}']
)
def test_files_that_say_nothing_of_this_torch_are_passed_over(text):
    measured.file().parent.mkdir(parents=True)
    measured.file().write_text(text.replace("NAME", measured.device_name("cpu")))
    assert measured.times("cpu") is None
    assert backends.choice("rms_norm", "cpu").implementation == "steel"


def test_it_lies_in_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv(measured.FILE_VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert measured.file() == tmp_path / "steel_megatron" / "kernel_times.json"
