"""``steel import``, ``export`` and ``generate`` as a user starts them, after training as a user starts it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers.hf_folder import save_hf_model_with_tokenizer
from helpers.sample_texts import TEXTS
from helpers.small_tokenizer import SMALL_VOCABULARY, small_tokenizer
from helpers.tiny_run import run_config, train
from steel_megatron.cli.main import main
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens.indexed import IndexedWriter


def text_run(folder: Path, **knobs) -> Path:
    """A run file for a tiny model on real text."""
    tokenizer = build_tokenizer(None, small_tokenizer(folder / "small"))
    with IndexedWriter(folder / "data", "uint16") as writer:
        for text in [*TEXTS.values()] * 6:
            writer.add_document(np.array([*tokenizer.encode(text), tokenizer.eod_id]))
    return run_config(
        folder, vocab_size=SMALL_VOCABULARY, tokenizer_model=str(folder / "small"), train_iters=8, **knobs
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder whose ``run`` was trained in bf16, with ``out`` exported from it and checked."""
    folder = tmp_path_factory.mktemp("trained")
    train(text_run(folder, precision="bf16", add_qkv_bias=True))
    assert main(["export", "--load", str(folder / "run"), "--output", str(folder / "out"), "--check"]) == 0
    return folder


def printed(capsys, *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_a_trained_model_is_exported(trained, capsys):
    text = printed(capsys, "export", "--load", str(trained / "run"), "--output", str(trained / "again"), "--check")
    assert "Qwen2, step 8" in text
    assert "in bfloat16" in text
    assert "checked: logits in transformers differ" in text
    config = json.loads((trained / "again" / "config.json").read_text())
    assert config["torch_dtype"] == "bfloat16"
    assert config["vocab_size"] == SMALL_VOCABULARY
    assert len(AutoTokenizer.from_pretrained(trained / "again")) == SMALL_VOCABULARY


def test_a_model_trained_over_tensor_and_pipeline_parallel_ranks_is_exported(tmp_path, capsys):
    layout = ["--tensor-model-parallel-size", "2", "--pipeline-model-parallel-size", "2"]
    config = text_run(tmp_path, precision="fp32", qk_layernorm=True, untie_embeddings_and_output_weights=False)
    train(config, *layout, processes=4)
    text = printed(capsys, "export", "--load", str(tmp_path / "run"), "--output", str(tmp_path / "out"), "--check")
    assert "Qwen3, step 8" in text
    assert "checked" in text


def test_greedy_text_is_that_of_transformers(trained, capsys):
    prompt = "人工智能是 quick"
    text = printed(
        capsys, "generate", "--load", str(trained / "run"), "--prompt", prompt, "--greedy", "--max-new-tokens", "20",
        "--dtype", "fp32", "--device", "cpu",
    )  # fmt: skip
    tokenizer = AutoTokenizer.from_pretrained(trained / "out")
    model = AutoModelForCausalLM.from_pretrained(trained / "out").float()
    batch = tokenizer(prompt, return_tensors="pt")
    out = model.generate(**batch, max_new_tokens=20, do_sample=False)
    assert text == tokenizer.decode(out[0], skip_special_tokens=True) + "\n"


def test_run_and_exported_folder_say_the_same(trained, capsys):
    flags = ["--prompt", "def f(x)", "--seed", "3", "--top-k", "20", "--max-new-tokens", "24", "--device", "cpu"]
    texts = [printed(capsys, "generate", *place, *flags) for place in (
        ["--load", str(trained / "run")], ["--hf", str(trained / "out")]
    )]  # fmt: skip
    assert texts[0] == texts[1]
    assert texts[0].startswith("def f(x)")
    assert len(texts[0]) > len("def f(x)\n")


def test_several_samples_come_one_after_the_other(trained, capsys, tmp_path):
    file = tmp_path / "prompt.txt"
    file.write_text("while\n", encoding="utf-8")
    flags = ["--prompt-file", str(file), "--num-samples", "3", "--max-new-tokens", "8", "--device", "cpu"]
    text = printed(capsys, "generate", "--load", str(trained / "run"), *flags)
    assert [line for line in text.splitlines() if line.startswith("---")] == [f"--- {i} of 3 ---" for i in (1, 2, 3)]
    assert text.count("while\n") == 3


def test_training_starts_from_imported_weights(tmp_path, capsys):
    original = save_hf_model_with_tokenizer("llama", tmp_path / "hf")
    assert main(["import", "--hf", str(tmp_path / "hf"), "--save", str(tmp_path / "imported")]) == 0
    assert "--pretrained-checkpoint" in capsys.readouterr().out
    model = yaml.safe_load((tmp_path / "imported" / "config.yaml").read_text())["model"]
    config = run_config(
        tmp_path,
        model=model,
        precision="fp32",
        tokenizer_model=str(tmp_path / "hf"),
        pretrained_checkpoint=str(tmp_path / "imported"),
        lr=1e-12,  # one step that changes nothing that can be seen
        min_lr=0.0,
        lr_warmup_iters=0,
        train_iters=1,
    )
    train(config)
    assert main(["export", "--load", str(tmp_path / "run"), "--output", str(tmp_path / "out")]) == 0
    state = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    for name, tensor in original.state_dict().items():
        torch.testing.assert_close(state[name], tensor, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--load", "/no/such/run", "--prompt", "x"], "no whole checkpoint"),
        (["generate", "--hf", "/no/such/folder", "--prompt", "x"], "config.json"),
        (["generate", "--hf", "x", "--prompt", "x", "--temperature", "0"], "--greedy"),
        (["generate", "--hf", "x", "--prompt-file", "/no/such/file"], "--prompt-file"),
        (["generate", "--hf", "x", "--prompt", "x", "--num-samples", "0"], "--num-samples"),
        (["export", "--load", "/no/such/run", "--output", "/no/such/output"], "no whole checkpoint"),
        (["export", "--load", "x", "--output", "y", "--max-shard-size", "big"], "--max-shard-size big"),
        (["import", "--hf", "/no/such/folder", "--save", "/no/such/output"], "config.json"),
    ],
)
def test_what_is_not_there_is_named(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
