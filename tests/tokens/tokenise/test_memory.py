"""Memory does not grow with the input, and a document of 100 MB goes through."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.small_tokenizer import small_tiktoken
from steel_megatron.tokens.manifest import Manifest

MEASURED = """
import resource, sys
from steel_megatron.tokens.tokenise.run import tokenize
from steel_megatron.tokenizer import build_tokenizer
tokenize([sys.argv[1]], sys.argv[2], build_tokenizer(None, sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_megabytes(path: Path, model: Path) -> int:
    words = [sys.executable, "-c", MEASURED, str(path), str(path.with_suffix("")), str(model)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(tmp_path):
    model = small_tiktoken(tmp_path / "small.tiktoken")
    peaks = []
    for copies in (10_000, 100_000):
        path = tmp_path / f"{copies}.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            for number in range(copies):
                text = f"第{number}篇文章，讲的是{number * 7919 % 10007}号问题。\n" * 40
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        peaks.append(peak_megabytes(path, model))
        path.unlink()
    assert peaks[1] < peaks[0] + 60  # 180 MB more of text


@pytest.mark.slow
def test_a_document_of_100_megabytes(tmp_path):
    model = small_tiktoken(tmp_path / "small.tiktoken")
    path = tmp_path / "large.jsonl"
    lines = [
        json.dumps({"text": "人工智能 is everywhere。\n" * (100_000_000 // 29)}, ensure_ascii=False),
        '{"text": "x"}',
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert peak_megabytes(path, model) < 1800
    manifest = Manifest.find(tmp_path / "large_text_document")
    assert manifest is not None
    assert (manifest.documents, manifest.text_bytes > 95_000_000) == (2, True)
