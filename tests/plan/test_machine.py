"""The facts of the machine this runs on, and that a broken probe breaks nothing."""

from __future__ import annotations

import json
import os
from types import SimpleNamespace

import pytest
import torch

from steel_megatron.plan import machine
from steel_megatron.plan.doctor import render


@pytest.fixture(scope="module")
def facts():
    return machine.describe_machine()


def test_facts_can_be_written_as_json(facts):
    assert json.loads(json.dumps(facts)).keys() == facts.keys()


def test_facts_are_those_of_this_process(facts):
    assert facts["cpu"]["cores"] == os.cpu_count()
    assert facts["torch"]["version"] == torch.__version__
    assert facts["torch"]["build"].startswith(
        "CUDA" if torch.version.cuda else ("ROCm" if torch.version.hip else "CPU")
    )
    assert len(facts["gpus"]) == (torch.cuda.device_count() if torch.cuda.is_available() else 0)
    assert 0 < facts["memory"]["available"] <= facts["memory"]["total"]
    assert facts["packages"]["transformers"] is not None


def test_a_probe_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(machine, "memory", lambda: 1 / 0)
    facts = machine.describe_machine()
    assert facts["memory"] == {"error": "ZeroDivisionError: division by zero"}
    assert facts["cpu"]["cores"] == os.cpu_count()


def test_a_command_that_is_missing_or_fails_prints_nothing():
    assert machine._output("no-such-command-here") == ""
    assert machine._output("python3", "-c", "print('half'); raise SystemExit(3)") == ""


def test_links_are_those_between_gpus():
    topology = (
        "\tGPU0\tGPU1\tNIC0\tCPU Affinity\tNUMA Affinity\n"
        "GPU0\t X \tNV18\tPIX\t0-47\tN/A\n"
        "GPU1\tNV18\t X \tSYS\t0-47\tN/A\n"
        "NIC0\tPIX\tSYS\t X \n"
    )
    matrix = machine._matrix(topology)
    assert "NV18" in matrix
    assert "SYS" not in matrix
    assert "PIX" not in matrix


def test_the_driver_is_asked_even_where_torch_sees_no_gpu(tmp_path, monkeypatch):
    smi = tmp_path / "nvidia-smi"
    smi.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        "  --query-gpu*) echo 'NVIDIA H100 80GB HBM3, 580.95.05'; echo 'NVIDIA H100 80GB HBM3, 580.95.05' ;;\n"
        "  topo) printf '\\tGPU0\\tGPU1\\tCPU Affinity\\nGPU0\\t X \\tNV18\\t0-47\\nGPU1\\tNV18\\t X \\t0-47\\n' ;;\n"
        "esac\n"
    )
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert machine.gpu_driver() == {"names": ["NVIDIA H100 80GB HBM3"] * 2, "version": "580.95.05", "links": ["NV18"]}
    smi.write_text("#!/bin/sh\nexit 9\n")  # a driver that does not answer
    assert machine.gpu_driver() == {"names": [], "version": None, "links": []}


def test_gpus_are_described(monkeypatch):
    properties = SimpleNamespace(name="H100", major=9, minor=0, multi_processor_count=132)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (70 << 30, 80 << 30))
    (gpu,) = machine.gpus()
    assert gpu == {
        "name": "H100", "memory": 80 << 30, "free": 70 << 30, "capability": "9.0", "multiprocessors": 132
    }  # fmt: skip
    assert "GPU 0          H100, 80.0 GiB (70.0 GiB free), sm_90" in render({"gpus": [gpu], "gpu_driver": {}})
