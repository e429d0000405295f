"""The report in words, and the advice for machines that are not this one."""

from __future__ import annotations

import copy

import pytest

from steel_megatron.plan.doctor import advise, render
from steel_megatron.plan.machine import describe_machine

GOOD = {
    "compiled_parts": {"_indexed": "loads", "instruction_set": "avx2", "instruction_set_cap": None, "build": None},
    "torch": {"version": "2.13.0+cu130", "build": "CUDA 13.0"},
    "gpus": [{"name": "H100", "memory": 80 << 30, "free": 79 << 30, "capability": "9.0", "multiprocessors": 132}],
    "gpu_driver": {"names": ["H100"], "version": "580.1", "links": []},
    "communication": {"gloo": True, "nccl": "2.28.9"},
    "storage": {
        "working_folder": {"path": "/data", "free": 900 << 30, "total": 1000 << 30},
        "shared_memory": {"path": "/dev/shm", "free": 64 << 30, "total": 64 << 30},
    },
}


def changed(path: tuple[str, ...], value: object) -> dict:
    facts = copy.deepcopy(GOOD)
    place = facts
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return facts


def test_a_good_machine_needs_no_advice():
    assert list(advise(GOOD)) == []
    assert "Nothing amiss." in render(GOOD)


@pytest.mark.parametrize(
    ("path", "value", "problem", "fix"),
    [
        (("compiled_parts", "_indexed"), "not built", "C++ extension", "pip install"),
        (("torch",), {"version": "2.13.0+cpu", "build": "CPU only"}, "CPU build", "torch==2.13.0 "),
        (("gpus",), [], "sees no GPU", "CUDA_VISIBLE_DEVICES"),
        (("communication", "nccl"), None, "NCCL", "torch"),
        (("torch",), {"error": "OSError: libcudart"}, "does not load", "pip install"),
        (("storage", "shared_memory", "free"), 64 << 20, "64 MiB", "--shm-size"),
        (("storage", "working_folder", "free"), 3 << 30, "3.0 GiB", "--save"),
    ],
)
def test_each_problem_brings_its_fix(path, value, problem, fix):
    (advice,) = advise(changed(path, value))
    assert problem in advice.problem
    assert fix in advice.fix
    assert advice.fix in render(changed(path, value))


def test_the_report_survives_any_section_missing_or_broken():
    facts = describe_machine()
    for name in facts:
        for value in ({"error": "gone"}, {}):
            text = render({**facts, name: value})
            assert "Packages" in text
    assert "could not be found out (gone)" in render({**facts, "cpu": {"error": "gone"}})
