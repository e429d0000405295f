"""The facts of the machine this runs on, and that a broken probe breaks nothing."""

from __future__ import annotations

import json
import os

import pytest
import torch

from steel_megatron.plan import machine


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
