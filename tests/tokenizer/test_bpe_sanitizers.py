"""The encoder's C++ under AddressSanitizer and UBSan, for every instruction set (``make sanitizers``)."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from helpers.hostile_texts import hostile_texts
from helpers.sample_texts import TEXTS
from helpers.small_tokenizer import small_tiktoken
from steel_megatron.config.instruction_set import INSTRUCTION_SET_VARIABLE
from steel_megatron.tokenizer.byte_bpe import QWEN_PATTERN, read_ranks
from steel_megatron.tokenizer.byte_pairs import CUTS, GPT2_PATTERN
from steel_megatron.tokenizer.tiktoken import TikTokenizer

ROOT = Path(__file__).parents[2]
COMPILER = os.environ.get("CXX") or shutil.which("g++")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(COMPILER is None, reason="no g++, and CXX names no compiler"),
]


def write_items(path: Path, items: list[bytes]) -> Path:
    path.write_bytes(b"".join(struct.pack("<I", len(item)) + item for item in items))
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The encoder alone, compiled with both sanitizers."""
    made = tmp_path_factory.mktemp("program") / "bpe"
    names = ("encoder", "merge", "scan_avx2", "scan_base", "unicode", "vocabulary")
    sources = [ROOT / "tests" / "helpers" / "bpe_alone.cpp", *(ROOT / f"csrc/bpe/{name}.cpp" for name in names)]
    flags = ["-std=c++17", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    include = [f"-I{ROOT / 'csrc' / 'bpe'}", f"-I{ROOT / 'csrc'}"]
    done = subprocess.run([str(COMPILER), *flags, *include, *map(str, sources), "-o", str(made)], capture_output=True)
    if b"cannot find" in done.stderr:
        pytest.skip("the compiler has no sanitizers here")
    assert done.returncode == 0, done.stderr.decode()
    return made


@pytest.mark.parametrize("capability", ["base", "avx2"])
@pytest.mark.parametrize("pattern", [QWEN_PATTERN, GPT2_PATTERN], ids=["lines", "words"])
def test_no_byte_is_read_or_written_that_is_not_there(program, tmp_path, capability, pattern):
    path = small_tiktoken(tmp_path / "t.tiktoken")
    tokens = list(read_ranks(path))
    units = ("a", "的", "的中", " ", "\n", " \n", "=", "'", "1", "👍")
    runs = [unit * count for unit in units for count in (1, 15, 16, 63, 64, 65, 1023, 1024, 1100)]
    texts = [*TEXTS.values(), *runs, *hostile_texts(2000, 13, tokens)]
    files = [
        write_items(tmp_path / "tokens", tokens),
        write_items(tmp_path / "texts", [text.encode() for text in texts]),
    ]
    cut = CUTS[pattern]
    environment = os.environ | {INSTRUCTION_SET_VARIABLE: capability, "ASAN_OPTIONS": "detect_leaks=0"}
    command = [str(program), *map(str, files), cut.kind, str(cut.digits)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    tokenizer = TikTokenizer(path, {"pattern": pattern, "normalization": None, "special_tokens": ()})
    lines = done.stdout.split("\n")
    assert len(lines) == len(texts) + 1
    known = [(line, text) for line, text in zip(lines, texts, strict=False) if line != "doubt"]
    assert len(known) > 0.7 * len(texts)
    for line, text in known:
        assert list(map(int, line.split())) == tokenizer.encode(text), repr(text)
