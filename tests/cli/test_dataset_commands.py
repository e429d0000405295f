"""steel merge, steel inspect, and Megatron's merge_datasets.py, as users call them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.megatron_files import read_megatron, write_megatron
from steel_megatron.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder with two tokenised datasets."""
    for name, texts in (("a", ["1 2 3", "4"]), ("b", ["5 6"])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        flags = ["--tokenizer-type", "NullTokenizer", "--vocab-size", "10"]
        out = str(tmp_path / "parts" / name)
        assert main(["tokenize", "--input", str(tmp_path / f"{name}.jsonl"), *flags, "--output-prefix", out]) == 0
    return tmp_path / "parts"


def test_merge_and_inspect(parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "all")
    assert main(["merge", "--input", str(parts), "--output-prefix", output]) == 0
    assert f"{output}.bin: 3 documents, 6 tokens (uint16) from 2 datasets" in capsys.readouterr().out
    assert read_megatron(output) == ("uint16", [[[1, 2, 3]], [[4]], [[5, 6]]])

    assert main(["inspect", output, "--verify"]) == 0
    text = capsys.readouterr().out
    assert "NullTokenizer, 11 ids" in text
    assert "hashes of .bin and .idx agree" in text
    assert main(["inspect", output + ".idx", "--json", "--verify"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["documents"], report["lengths"]["longest"], report["manifest"]["tokens"]) == (3, 3, 6)
    assert report["verified"] == {"smallest_id": 1, "largest_id": 6, "hashes_checked": True}

    decode = ["--tokenizer-type", "NullTokenizer", "--vocab-size", "10"]
    assert main(["inspect", output, "--document", "2", *decode]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "5 6"
    assert main(["inspect", output, "--document", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "prefix": output,
        "document": 0,
        "sequence_lengths": [3],
        "ids": [1, 2, 3],
        "text": None,
    }


def test_errors_are_lines_and_status_2(parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "all")
    for argv, problem in (
        (["merge", "--input", str(tmp_path / "nowhere"), "--output-prefix", output], "no file"),
        (["merge", "--input", str(parts), "--output-prefix", output, "--multimodal"], "--multimodal"),
        (["inspect", str(tmp_path / "nowhere")], "no file"),
        (["inspect", str(parts / "a_text_document"), "--document", "2"], "documents are 0 to 1"),
    ):
        assert main(argv) == 2
        assert problem in capsys.readouterr().err
    (parts / "a_text_document.bin").write_bytes(bytes(8))
    assert main(["inspect", str(parts / "a_text_document"), "--verify"]) == 2
    assert "a_text_document.bin has SHA-256" in capsys.readouterr().err


def test_merge_datasets_has_megatrons_flags(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        write_megatron(tmp_path / "in" / f"shard{number}", [[[number]], []], "int32")
    script = ROOT / "tools" / "preprocess" / "merge_datasets.py"
    command = [sys.executable, str(script), "--input", str(tmp_path / "in"), "--output-prefix", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "6 documents, 3 tokens (int32) from 3 datasets" in done.stdout
    assert "no manifest" in done.stdout
    assert read_megatron(tmp_path / "out")[1] == [[[0]], [], [[1]], [], [[2]], []]
