"""``steel generate`` as a user starts it, after training and export as a user starts them."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from helpers.text_run import text_run
from helpers.tiny_run import train
from steel_megatron.cli.main import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder whose ``run`` was trained in bf16, with ``out`` exported from it."""
    folder = tmp_path_factory.mktemp("trained")
    train(text_run(folder, precision="bf16", add_qkv_bias=True))
    assert main(["export", "--load", str(folder / "run"), "--output", str(folder / "out")]) == 0
    return folder


def printed(capsys, *arguments: str) -> str:
    capsys.readouterr()
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "--load", "/no/such/run", "--prompt", "x"], "no whole checkpoint"),
        (["generate", "--hf", "/no/such/folder", "--prompt", "x"], "config.json"),
        (["generate", "--hf", "x", "--prompt", "x", "--temperature", "0"], "--greedy"),
        (["generate", "--hf", "x", "--prompt-file", "/no/such/file"], "--prompt-file"),
        (["generate", "--hf", "x", "--prompt", "x", "--num-samples", "0"], "--num-samples"),
    ],
)
def test_what_is_not_there_is_named(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
