"""Speed of ``steel tokenize`` beside plain ``tokenizers`` batches, on Chinese and code, with the Qwen vocabulary.

    pip install --no-deps dashscope      # the vocabulary
    python benchmarks/tokenize.py --megabytes 20

Chinese is made of the vocabulary's own words, common ones often, in clauses and paragraphs; code is Python's standard
library. Every row encodes the same file and ends with the same .bin. CPU seconds are those of all processes of the row,
start included; on a busy machine they say more than the clock.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig

if __name__ != "__main__":
    # This folder stands first in the path of every benchmark, and the standard library has a module of this name.
    _spec = importlib.util.spec_from_file_location("tokenize", f"{sysconfig.get_path('stdlib')}/tokenize.py")
    assert _spec is not None
    assert _spec.loader is not None
    _module = importlib.util.module_from_spec(_spec)
    sys.modules["tokenize"] = _module
    _spec.loader.exec_module(_module)

import argparse
import json
import os
import random
import resource
import subprocess
import tempfile
import time
from pathlib import Path

PLAIN = """
import json, sys
import numpy as np
from tokenizers import Tokenizer
backend = Tokenizer.from_file(sys.argv[1] + "/tokenizer.json")
backend.encode_special_tokens = True
with open(sys.argv[2], "rb") as lines, open(sys.argv[3], "wb") as output:
    while batch := lines.readlines(1 << 20):
        texts = [json.loads(line)["text"] for line in batch]
        for encoding in backend.encode_batch(texts, add_special_tokens=False):
            output.write(np.array(encoding.ids, dtype=np.int32).tobytes())
"""


def chinese_texts(vocabulary: Path, size: int) -> list[str]:
    """Texts of about 2 kB from the vocabulary's Chinese words, those of low rank more often."""
    from steel_megatron.tokenizer.byte_bpe import read_ranks

    words = [token.decode("utf-8", "ignore") for token in read_ranks(vocabulary)]
    words = [word for word in words if word and all("\u4e00" <= letter <= "\u9fff" for letter in word)]
    generator = random.Random(0)
    weights = [1 / (rank + 10) for rank in range(len(words))]
    texts: list[str] = []
    taken = 0
    while taken < size:
        parts = []
        for word in generator.choices(words, weights, k=480):
            parts.append(word)
            chance = generator.random()
            if chance < 0.14:
                parts.append("，" if chance < 0.09 else "。" if chance < 0.13 else "。\n")
        texts.append("".join(parts))
        taken += len(texts[-1].encode())
    return texts


def code_texts(size: int) -> list[str]:
    """Files of the standard library, again from the start when they are too few."""
    files = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    files = [file for file in files if "site-packages" not in file.parts]
    texts: list[str] = []
    taken = 0
    while taken < size:
        for file in files:
            texts.append(file.read_text(encoding="utf-8", errors="replace"))
            taken += len(texts[-1].encode())
            if taken >= size:
                break
    return texts


def run(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock and CPU seconds of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TOKENIZERS_PARALLELISM": "false"})
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(name: str, texts: list[str], models: dict[str, Path], workers: list[int], folder: Path) -> None:
    """Prints the rows of one kind of text."""
    path = folder / f"{name}.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    size = sum(len(text.encode()) for text in texts) / 1e6
    plain = folder / "plain.bin"
    rows = [
        ("plain tokenizers batches", [sys.executable, "-c", PLAIN, str(models["tokenizers"]), str(path), str(plain)])
    ]
    for kind, model in models.items():
        for number in workers:
            prefix = f"{folder}/{name}_{kind}_{number}"
            flags = ["--input", str(path), "--tokenizer-model", str(model), "--output-prefix", prefix]
            command = [sys.executable, "-m", "steel_megatron", "tokenize", *flags, "--workers", str(number)]
            rows.append((f"steel tokenize, {kind}, {number} workers", command))
    for title, command in rows:
        seconds, cpu = run(command)
        print(
            f"| {name} | {title} | {size:.0f} | {seconds:.1f} | {size / seconds:.1f} | {size / cpu:.1f} |", flush=True
        )
    for output in folder.glob(f"{name}_*_document.bin"):
        if output.read_bytes() != plain.read_bytes():
            raise SystemExit(f"{output.name} differs from the plain tokenizers' ids")


def main() -> None:
    """Parses the flags and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=20, help="text of each kind (default: 20)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (default: 1 2)")
    parser.add_argument("--vocabulary", type=Path, help="a .tiktoken file (default: dashscope's qwen.tiktoken)")
    args = parser.parse_args()
    vocabulary = args.vocabulary
    if vocabulary is None:
        spec = importlib.util.find_spec("dashscope")
        if spec is None or spec.origin is None:
            raise SystemExit("no Qwen vocabulary: pip install --no-deps dashscope, or give --vocabulary")
        vocabulary = Path(spec.origin).parent / "resources" / "qwen.tiktoken"
    from steel_megatron.tokenizer.tiktoken import TikTokenizer

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        TikTokenizer(vocabulary).save_pretrained(folder / "tokenizer")
        models = {"tokenizers": folder / "tokenizer", "tiktoken": vocabulary}
        print(f"python {' '.join(sys.argv)}\n")
        print("| text | tool | MB | seconds | MB/s | MB per CPU second |\n|---|---|---|---|---|---|")
        size = args.megabytes * 10**6
        measure("chinese", chinese_texts(vocabulary, size), models, args.workers, folder)
        measure("code", code_texts(size), models, args.workers, folder)


if __name__ == "__main__":
    main()
