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
    measured.use("cpu", None)
    yield
    measured.use("cpu", None)


def write(seconds, failed=None, **options):
    return measured.write("cpu", measured.record("demo", seconds, failed or {}, {}), **options)


@pytest.mark.parametrize(("steel", "winner"), [(0.002, "steel"), (0.004, "torch")])
def test_auto_takes_the_fastest_measured_here(steel, winner):
    write({"rms_norm": {"torch": 0.003, "steel": steel}})
    chosen = backends.choice("rms_norm", "cpu")
    assert chosen.implementation == winner
    assert "fastest here on 2" in chosen.reason
    assert "torch 3 ms" in chosen.reason
    assert backends.choice("rope", "cpu").implementation == "steel"  # not measured: by the table


def test_a_flag_wins_over_times():
    write({"rms_norm": {"torch": 0.001, "steel": 1.0}})
    backends.use_kernel_backend("steel", "cpu")
    assert backends.choice("rms_norm", "cpu").implementation == "steel"


def test_a_measured_backend_that_is_gone_is_passed_over(monkeypatch):
    write({"rms_norm": {"apex": 0.001, "steel": 0.002, "torch": 0.003}})
    assert backends.choice("rms_norm", "cpu").implementation == "steel"


def test_devices_keep_their_own_times(monkeypatch):
    write({"rms_norm": {"torch": 1.0}})
    monkeypatch.setattr(measured, "device_name", lambda device_type: "another")
    measured.times.cache_clear()
    assert measured.times("cpu") is None
    write({"rope": {"torch": 1.0}})
    assert len(json.loads(measured.file().read_text())) == 2
    assert measured.fastest_first("rms_norm", "cpu") == []


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"NAME": 3}', '{"NAME": {"versions": "torch 1", "seconds": {"rms_norm": {"torch": 1}}}}']
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


def test_what_failed_its_self_test_is_not_used_by_auto_but_still_by_name():
    write({"rms_norm": {"torch": 0.003}}, failed={"rms_norm": {"steel": "its results are 3 of their norm away"}})
    chosen = backends.choice("rms_norm", "cpu")
    assert chosen.implementation == "torch"
    assert "steel failed: its results are 3" in chosen.reason
    assert backends._order("rms_norm", "cpu") == ("torch",)
    backends.use_kernel_backend("steel", "cpu")
    assert backends.choice("rms_norm", "cpu").implementation == "steel"


def test_the_table_stands_behind_what_was_measured(monkeypatch):
    write({"rms_norm": {"te": 0.001}})
    monkeypatch.setitem(backends.BACKENDS, "te", available.Backend(lambda device: None, lambda *tensors: True))
    assert backends._order("rms_norm", "cpu") == ("te", "steel", "torch")


def test_of_two_runs_that_measure_at_once_the_first_is_right():
    write({"rms_norm": {"torch": 0.001, "steel": 0.002}})
    write({"rms_norm": {"torch": 0.002, "steel": 0.001}}, keep_earlier=True)
    assert measured.fastest_first("rms_norm", "cpu") == ["torch", "steel"]
    write({"rms_norm": {"torch": 3.0, "steel": 2.0, "apex": 1.0}}, keep_earlier=True)  # it says more
    assert measured.fastest_first("rms_norm", "cpu") == ["apex", "steel", "torch"]
    write({"rms_norm": {"torch": 0.001}})  # steel doctor --measure
    assert measured.fastest_first("rms_norm", "cpu") == ["torch"]


def test_something_new_is_measured():
    assert backends.unmeasured("cpu")
    everything = {operation: dict.fromkeys(known.backends, 1.0) for operation, known in backends.OPERATIONS.items()}
    write(everything)
    assert not backends.unmeasured("cpu")
    everything["rope"].pop("steel")
    write(everything)
    assert backends.unmeasured("cpu")


def test_times_of_other_versions_do_not_count(monkeypatch):
    write({"rms_norm": {"torch": 0.001}})
    monkeypatch.setattr(measured.steel_megatron, "__version__", "99")
    measured.times.cache_clear()
    assert measured.times("cpu") is None
