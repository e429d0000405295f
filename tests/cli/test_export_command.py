"""``steel export`` as a user starts it, after training as a user starts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from helpers.gpt_of import gpt_of
from helpers.saved_run import save_run
from helpers.small_tokenizer import SMALL_VOCABULARY, small_tokenizer
from helpers.text_run import text_run
from helpers.tiny_models import tiny_hf_model
from helpers.tiny_run import train
from steel_megatron.cli.main import main
from steel_megatron.huggingface import check

OWN_FAMILY = """
from steel_megatron.huggingface.families.llama import Llama

class Wide(Llama):
    name = "Wide"

FAMILY = Wide()
"""


def printed(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> str:
    """What an export of ``run`` to ``out`` says."""
    capsys.readouterr()
    assert main(["export", "--load", str(folder / "run"), "--output", str(folder / "out"), *words]) == 0
    return capsys.readouterr().out


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder whose ``run`` has checkpoints of steps 10 and 20: a Llama in bf16, with masters, without a tokenizer."""
    for step in (10, 20):
        save_run(gpt_of(tiny_hf_model("llama", seed=step), torch.bfloat16), tmp_path / "run", step, masters=True)
    return tmp_path


def test_a_trained_model_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(text_run(tmp_path, precision="bf16", add_qkv_bias=True))
    text = printed(capsys, tmp_path, "--check")
    assert text.startswith(f"{tmp_path / 'out'}: Qwen2, step 8, ")
    assert " parameters in bfloat16 (0.00 GB)\n" in text  # with a tokenizer: nothing is said of it
    assert "checked: logits in transformers differ from ours by at most" in text
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["torch_dtype"] == "bfloat16"
    assert config["vocab_size"] == len(AutoTokenizer.from_pretrained(tmp_path / "out")) == SMALL_VOCABULARY


def test_a_model_trained_over_tensor_and_pipeline_parallel_ranks_is_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = ["--tensor-model-parallel-size", "2", "--pipeline-model-parallel-size", "2"]
    config = text_run(tmp_path, precision="fp32", qk_layernorm=True, untie_embeddings_and_output_weights=False)
    train(config, *layout, processes=4)
    text = printed(capsys, tmp_path, "--check")
    assert "Qwen3, step 8" in text
    assert "checked" in text


def test_step_type_and_size_of_files_are_those_that_were_asked_for(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, saved, "--step", "10", "--dtype", "fp32", "--max-shard-size", "40KB")
    size = 4 * tiny_hf_model("llama").num_parameters()
    assert "Llama, step 10, " in text
    assert f"in float32 ({size / 1e9:.2f} GB), without tokenizer\n" in text
    files = sorted((saved / "out").glob("model-*.safetensors"))
    assert len(files) > 2
    assert max(sum(tensor.nbytes for tensor in load_file(file).values()) for file in files) <= 40_512
    norm = next(load_file(file)["model.norm.weight"] for file in files if "model.norm.weight" in load_file(file))
    expected = tiny_hf_model("llama", seed=10).model.norm.weight.bfloat16().float() * (1 + 2**-12)  # the masters
    assert torch.equal(norm, expected)


def test_a_tokenizer_and_a_family_may_be_given(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = gpt_of(tiny_hf_model("llama", vocab_size=SMALL_VOCABULARY))
    save_run(model, saved / "run", 30)
    (saved / "wide.py").write_text(OWN_FAMILY)
    tokenizer = ["--tokenizer-model", str(small_tokenizer(saved / "tokenizer"))]
    assert "without tokenizer" not in printed(capsys, saved, "--family", f"{saved / 'wide.py'}:FAMILY", *tokenizer)
    assert len(AutoTokenizer.from_pretrained(saved / "out")) == SMALL_VOCABULARY
    assert main(["export", "--load", str(saved / "run"), "--output", str(saved / "other"), "--family", "qwen2"]) == 2
    assert "Qwen2 does not have this model: add_qkv_bias is False" in capsys.readouterr().err
    assert not (saved / "other").exists()


def test_what_is_there_is_replaced_only_when_asked(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, saved, "--step", "10")
    assert main(["export", "--load", str(saved / "run"), "--output", str(saved / "out")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert "step 20" in printed(capsys, saved, "--overwrite")


def test_a_check_that_fails_is_an_error_and_the_folder_stays_to_be_looked_at(
    saved: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(load: Path, step: int, folder: Path) -> float:
        assert step == 20
        return real(load, 10, folder)  # against another step's weights

    real = check.check_export
    monkeypatch.setattr(check, "check_export", wrong)
    assert main(["export", "--load", str(saved / "run"), "--output", str(saved / "out"), "--check"]) == 2
    said = capsys.readouterr()
    assert "step 20" in said.out
    assert "checked" not in said.out
    assert "differ from ours by" in said.err
    assert (saved / "out" / "config.json").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--load", "/no/such/run", "--output", "/no/such/output"], "no whole checkpoint"),
        (["--load", "x", "--output", "y", "--max-shard-size", "big"], "--max-shard-size big"),
        (["--load", "x", "--output", "y", "--max-shard-size", "0"], "--max-shard-size 0"),
        (["--load", "x", "--output", "y", "--dtype", "fp64"], "--dtype"),
        (["--load", "x", "--output", "y", "--step", "-1"], "--step -1"),
        (["--load", "x"], "--output"),
    ],
)
def test_wrong_words_are_named(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", *words]) == 2
    assert message in capsys.readouterr().err
