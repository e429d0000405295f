"""``steel doctor`` as a user starts it."""

from __future__ import annotations

import json
import subprocess
import sys

import torch


def steel(*arguments: str) -> str:
    command = [sys.executable, "-m", "steel_megatron", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def test_the_report_names_what_is_here():
    text = steel("doctor")
    assert torch.__version__ in text
    assert sys.version.split()[0] in text
    for title in ("Machine", "GPUs", "Packages", "Backends", "Storage"):
        assert f"\n{title}\n" in "\n" + text


def test_json_holds_facts_and_advice():
    facts = json.loads(steel("doctor", "--json"))
    assert facts["torch"]["version"] == torch.__version__
    assert isinstance(facts["advice"], list)
