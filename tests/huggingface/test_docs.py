"""The family of docs/huggingface.md, followed to the letter, converts a model of transformers both ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig

from helpers.tiny_models import TINY
from steel_megatron.cli.main import main

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["huggingface.md", "huggingface.zh-CN.md"])
def test_a_family_of_ones_own(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (commands,) = re.findall(r"```bash\n(steel import [^\n]*--family [^\n]*\nsteel export [^\n]*\n)```", text)
    monkeypatch.chdir(tmp_path)
    Path("experiments").mkdir()
    Path("experiments/mistral.py").write_text(code, encoding="utf-8")
    theirs = AutoModelForCausalLM.from_config(MistralConfig(**{**TINY["llama"][1], "sliding_window": None}))
    theirs.save_pretrained("Mistral-7B-v0.3")
    for command in commands.splitlines():
        assert main(command.split()[1:]) == 0
    again = AutoModelForCausalLM.from_pretrained("mistral_hf")
    assert type(again) is type(theirs)
    for (name, one), (other_name, other) in zip(theirs.named_parameters(), again.named_parameters(), strict=True):
        assert name == other_name
        assert torch.equal(one, other)
