"""``steel tokenize``, ``steel train-tokenizer`` and tools/preprocess/preprocess_data.py as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.json_lines import write_lines
from helpers.megatron_files import read_megatron
from helpers.sample_texts import TEXTS
from helpers.small_tokenizer import small_tokenizer
from steel_megatron.cli.main import main
from steel_megatron.tokenizer import build_tokenizer

TOOL = Path(__file__).parents[2] / "tools" / "preprocess" / "preprocess_data.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return small_tokenizer(tmp_path_factory.mktemp("small"))


def test_megatrons_tool_by_name_and_flags(tmp_path, model):
    (tmp_path / "data").mkdir()
    write_lines(tmp_path / "data" / "b.jsonl.gz", ["你好"])
    write_lines(tmp_path / "data" / "a.jsonl", ["hello", b"broken"])
    arguments = (
        f"--input {tmp_path}/data --json-keys text --tokenizer-type HuggingFaceTokenizer --tokenizer-model {model} "
        f"--output-prefix {tmp_path}/out/x --append-eod --workers 2 --log-interval 100 --partitions 1"
    )
    done = subprocess.run([sys.executable, TOOL, *arguments.split()], capture_output=True, text=True, check=True)
    tokenizer = build_tokenizer(None, model)
    dtype, documents = read_megatron(tmp_path / "out" / "x_text_document")
    assert dtype == "uint16"
    assert documents == [[[*tokenizer.encode(text), tokenizer.eod_id]] for text in ("hello", "你好")]
    assert "2 documents" in done.stdout
    assert "1 lines rejected: bad_json 1" in done.stdout


def test_exit_status_tells_of_rejects_only_if_strict(tmp_path, model, capsys):
    path = write_lines(tmp_path / "a.jsonl", ["x", b"broken"])
    flags = ["tokenize", "--input", str(path), "--tokenizer_model", str(model), "--output_prefix", f"{tmp_path}/x"]
    assert main(flags) == 0
    assert main([*flags, "--strict"]) == 1
    assert "nothing to do" in capsys.readouterr().out
    assert main([*flags, "--strict", "--overwrite"]) == 1
    write_lines(path, ["x"])
    assert main([*flags, "--strict", "--overwrite"]) == 0


def test_numbers_as_text(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", ["1 2 3"])
    flags = ["--input", str(path), "--output-prefix", f"{tmp_path}/x", "--vocab-size", "10", "--append-eod"]
    assert main(["tokenize", "--tokenizer-type", "NullTokenizer", *flags]) == 0
    assert read_megatron(tmp_path / "x_text_document")[1] == [[[1, 2, 3, 10]]]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split-sentences"], "one document is one sequence"),
        (["--tokenizer-model", "none.tiktoken"], r"no tokenizer at none.tiktoken"),
        (["--tokenizer-type", "GPT2BPETokenizer"], "invalid choice"),
        (["--input", "none.jsonl"], "no input file at none.jsonl"),
        (["--worker", "2"], "did you mean --workers?"),
    ],
)
def test_wrong_flags_are_told(tmp_path, model, capsys, flags, message):
    path = write_lines(tmp_path / "a.jsonl", ["x"])
    start = ["tokenize", "--input", str(path), "--tokenizer-model", str(model), "--output-prefix", f"{tmp_path}/x"]
    assert main([*start, *flags]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("x*"))


def test_training_a_tokenizer(tmp_path, capsys):
    paths = [
        write_lines(tmp_path / "a.jsonl", [*TEXTS.values(), b"broken"]),
        write_lines(tmp_path / "b.jsonl.zst", [b'{"content": "other key"}']),
    ]
    flags = ["train-tokenizer", "--input", *map(str, paths), "--output", f"{tmp_path}/t", "--vocab-size", "300"]
    assert main(flags) == 0
    output = capsys.readouterr().out
    tokenizer = build_tokenizer(None, tmp_path / "t")
    assert tokenizer.vocab_size == 300
    assert tokenizer.eod_id == 297
    assert tokenizer.fingerprint in output
    assert "bad_json 1" in output
    assert "missing_key 1" in output
    assert main(flags) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*flags, "--overwrite", "--special-tokens", "<|endoftext|>", "--max-bytes", "1k"]) == 0
    config = json.loads((tmp_path / "t" / "tokenizer_config.json").read_text())
    assert config["eos_token"] == "<|endoftext|>"
    assert build_tokenizer(None, tmp_path / "t").special_tokens == {"<|endoftext|>": 299}


def test_training_without_text(tmp_path, capsys):
    path = write_lines(tmp_path / "a.jsonl", [b'{"content": "x"}'])
    assert main(["train-tokenizer", "--input", str(path), "--output", f"{tmp_path}/t", "--vocab-size", "300"]) == 2
    assert "check --input and --json-key" in capsys.readouterr().err
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("command", ["tokenize", "train-tokenizer"])
def test_every_flag_has_a_help_text(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert "--input" in capsys.readouterr().out
