"""``steel import`` as a user starts it, and training that goes on from there."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from helpers.hf_folder import save_hf_model, save_hf_model_with_tokenizer
from helpers.small_tokenizer import small_tokenizer
from helpers.tiny_run import run_config, train
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.cli.main import main

OWN_FAMILY = """
from steel_megatron.huggingface.families.llama import Llama

class Wide(Llama):
    name = "Wide"

FAMILY = Wide()
"""


def said(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    """What an import of ``hf`` to ``imported`` says."""
    assert main(["import", "--hf", str(folder / "hf"), "--save", str(folder / "imported"), *words]) == 0
    return capsys.readouterr().out


def test_training_starts_from_imported_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the flags that the import tells."""
    original = save_hf_model_with_tokenizer("llama", tmp_path / "hf")
    told, command = said(capsys, tmp_path).splitlines()
    assert told == f"{tmp_path / 'imported'}: Llama, {original.num_parameters():,} parameters in fp32"
    words = shlex.split(command.split(": ", 1)[1])
    assert words[:3] == ["steel", "train", "--config"]
    assert words[-1] == "…"
    tree = yaml.safe_load(Path(words[3]).read_text())
    config = run_config(
        tmp_path,
        model=tree["model"],
        precision="fp32",
        tokenizer_model=str(tmp_path / "hf"),
        lr=1e-12,  # one step that changes nothing that can be seen
        min_lr=0.0,
        lr_warmup_iters=0,
        train_iters=1,
    )
    train(config, *words[4:-1])
    assert main(["export", "--load", str(tmp_path / "run"), "--output", str(tmp_path / "out")]) == 0
    state = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    for name, tensor in original.state_dict().items():
        torch.testing.assert_close(state[name], tensor, atol=1e-6, rtol=0)


def test_type_tokenizer_and_family_may_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_hf_model_with_tokenizer("llama", tmp_path / "hf")
    (tmp_path / "hf" / "tokenizer.json").unlink()
    (tmp_path / "hf" / "tokenizer_config.json").unlink()
    (tmp_path / "wide.py").write_text(OWN_FAMILY)
    words = ["--dtype", "bf16", "--family", f"{tmp_path / 'wide.py'}:FAMILY"]
    words += ["--tokenizer-model", str(small_tokenizer(tmp_path / "tokenizer"))]
    assert f"Wide, {model.num_parameters():,} parameters in bf16\n" in said(capsys, tmp_path, *words)
    stored = CheckpointStore(tmp_path / "imported").tensors(0)
    assert {dtype for _, dtype in stored.values()} == {torch.bfloat16}
    assert (tmp_path / "imported" / "tokenizer" / "tokenizer.json").is_file()


def test_a_folder_without_a_tokenizer_is_told_as_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_hf_model("gpt2", tmp_path / "hf")
    assert "GPT-2, " in (text := said(capsys, tmp_path))
    assert "parameters in fp32, without tokenizer\n" in text
    assert main(["import", "--hf", str(tmp_path / "hf"), "--save", str(tmp_path / "imported")]) == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hf", "/no/such/folder", "--save", "/no/such/output"], "config.json"),
        (["--hf", "x", "--save", "y", "--dtype", "int8"], "--dtype"),
        (["--hf", "x"], "--save"),
    ],
)
def test_wrong_words_are_named(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", *words]) == 2
    assert message in capsys.readouterr().err
