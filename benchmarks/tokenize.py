"""Speed of ``steel tokenize`` beside its encoder alone, plain ``tokenizers`` batches and Megatron-LM's tool.

    pip install --no-deps dashscope      # the vocabulary
    pip install fastokens
    python benchmarks/tokenize.py --megabytes 100 [--megatron Megatron-LM/tools/preprocess_data.py]

Chinese and code, Qwen's vocabulary, text that no encoder has seen before in the row. Chinese is made of the
vocabulary's own words, common ones often, in clauses and paragraphs, at random: hardly a clause comes twice, so caches
of clauses do not help, as in real text. ``--chinese FILE.jsonl`` takes real text instead. Code is the Python files of
the standard library and of the installed packages, each once.

Each row is a process of its own. "MB/CPU s" counts the CPU seconds of all processes of the row from their start on,
"running" is that of the last three quarters of the text alone: the difference to the same command on the first quarter.
On a busy machine both say more than the clock. All rows but Megatron's must write the same ids.
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
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

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

# The encoder of a run alone: texts in memory, ids thrown away.
ALONE = """
import json, sys, tempfile, time
from pathlib import Path
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokenizer.encoders import choose_encoder
texts = [json.loads(line)["text"] for line in open(sys.argv[2], "rb")]
encoder = choose_encoder(build_tokenizer(None, sys.argv[1]), "auto", ["x"], Path(tempfile.mkdtemp())).encoder
clock, cpu = time.perf_counter(), time.process_time()
start = size = 0
for i, text in enumerate(texts):
    size += len(text)
    if size > 600_000 or i + 1 == len(texts):
        encoder.encode_batch(texts[start : i + 1])
        start, size = i + 1, 0
print(time.perf_counter() - clock, time.process_time() - cpu)
"""


def chinese_texts(vocabulary: Path, size: int) -> Iterator[str]:
    """Texts of about 2 kB from the vocabulary's Chinese words, those of low rank more often."""
    from steel_megatron.tokenizer.byte_bpe import read_ranks

    words = [token.decode("utf-8", "ignore") for token in read_ranks(vocabulary)]
    words = [word for word in words if word and all("\u4e00" <= letter <= "\u9fff" for letter in word)]
    generator = random.Random(0)
    weights = list(accumulate(1 / (rank + 10) for rank in range(len(words))))
    taken = 0
    while taken < size:
        parts = []
        for word in generator.choices(words, cum_weights=weights, k=480):
            parts.append(word)
            chance = generator.random()
            if chance < 0.14:
                parts.append("，" if chance < 0.09 else "。" if chance < 0.13 else "。\n")
        text = "".join(parts)
        taken += len(text.encode())
        yield text


def code_texts(size: int) -> Iterator[str]:
    """Python files of the standard library and of the packages installed, each content once."""
    seen: set[int] = set()
    taken = 0
    for name in ("stdlib", "platlib", "purelib"):
        for file in sorted(Path(sysconfig.get_path(name)).rglob("*.py")):
            text = file.read_text(encoding="utf-8", errors="replace")
            if taken < size and hash(text) not in seen:
                seen.add(hash(text))
                taken += len(text.encode())
                yield text


def texts_of_file(path: Path, size: int) -> Iterator[str]:
    """The ``text`` fields of a file of JSON lines."""
    taken = 0
    with open(path, "rb") as lines:
        for line in lines:
            text = json.loads(line)["text"]
            taken += len(text.encode())
            yield text
            if taken >= size:
                return


class Row(NamedTuple):
    """A command; ``{input}`` and ``{output}`` in it are replaced. ``ids`` is the file of ids that it writes."""

    title: str
    command: list[str]
    ids: str | None


def run(command: list[str], input_path: Path, output: Path) -> tuple[float, float, str]:
    """Seconds by the clock, CPU seconds of a command and its children, and what it prints."""
    from steel_megatron.tokenizer.encoders import ONE_THREAD

    words = [word.replace("{input}", str(input_path)).replace("{output}", str(output)) for word in command]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    environment = {**os.environ, **ONE_THREAD, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, env=environment, text=True)
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def measure(name: str, texts: Iterator[str], wanted: int, rows: list[Row], alone: list[str], folder: Path) -> None:
    """Prints the rows of one kind of text."""
    path, quarter = folder / f"{name}.jsonl", folder / f"{name}_quarter.jsonl"
    size = quarter_size = 0
    with open(path, "w", encoding="utf-8") as file, open(quarter, "w", encoding="utf-8") as first:
        for number, text in enumerate(texts):
            line = json.dumps({"text": text, "source": name, "id": str(number)}, ensure_ascii=False) + "\n"
            size += len(text.encode())
            file.write(line)
            if size < wanted // 4:
                quarter_size = size
                first.write(line)
    megabytes, rest = size / 1e6, (size - quarter_size) / 1e6
    clock, cpu = map(float, run(alone, path, folder / "none")[2].split())
    title = "the encoder alone, texts in memory"
    print(f"| {name} | {title} | {megabytes:.0f} | {megabytes / clock:.1f} | | {megabytes / cpu:.1f} |", flush=True)
    expected: bytes | None = None
    for row in rows:
        try:
            _, quarter_cpu, _ = run(row.command, quarter, folder / "quarter_out")
            seconds, cpu, _ = run(row.command, path, folder / "out")
        except RuntimeError as error:
            print(f"| {name} | {row.title} | skipped: {error} | | | |", flush=True)
            continue
        rates = [megabytes / seconds, megabytes / cpu, rest / (cpu - quarter_cpu)]
        print(
            f"| {name} | {row.title} | {megabytes:.0f} | " + " | ".join(f"{rate:.1f}" for rate in rates) + " |",
            flush=True,
        )
        if row.ids is not None:
            ids = Path(row.ids.replace("{output}", str(folder / "out"))).read_bytes()
            if expected is not None and ids != expected:
                raise SystemExit(f"{row.title}: other ids than the row before")
            expected = ids
        for file in folder.glob("out*"):
            file.unlink()
        for file in folder.glob("quarter_out*"):
            file.unlink()


def steel_rows(model: Path, workers: list[int]) -> list[Row]:
    flags = ["--input", "{input}", "--tokenizer-model", str(model), "--output-prefix", "{output}"]
    command = [sys.executable, "-m", "steel_megatron", "tokenize", *flags, "--workers"]
    return [
        Row(f"steel tokenize, {number} workers", [*command, str(number)], "{output}_text_document.bin")
        for number in workers
    ]


def megatron_rows(script: Path, python: str, model: Path, workers: list[int]) -> list[Row]:
    flags = ["--input", "{input}", "--output-prefix", "{output}", "--tokenizer-type", "HuggingFaceTokenizer"]
    command = [python, str(script), *flags, "--tokenizer-model", str(model)]
    return [
        Row(
            f"Megatron{' --use-gigatoken' * bool(extra)}, {number} workers",
            [*command, "--workers", str(number), *extra],
            None,
        )
        for extra in ([], ["--use-gigatoken"])
        for number in workers
    ]


def main() -> None:
    """Parses the flags and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100, help="text of each kind (default: 100)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers of workers (default: 1 2)")
    parser.add_argument("--vocabulary", type=Path, help="a .tiktoken file (default: dashscope's qwen.tiktoken)")
    parser.add_argument("--chinese", type=Path, help="JSON lines of real Chinese text")
    parser.add_argument("--megatron", type=Path, help="path of Megatron-LM's tools/preprocess_data.py")
    parser.add_argument("--megatron-python", default=sys.executable, help="the Python that Megatron is installed in")
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
        huggingface = folder / "tokenizer"
        TikTokenizer(vocabulary).save_pretrained(huggingface)
        plain = [sys.executable, "-c", PLAIN, str(huggingface), "{input}", "{output}"]
        rows = [Row("plain tokenizers batches", plain, "{output}"), *steel_rows(vocabulary, args.workers)]
        print(f"python {' '.join(sys.argv)}\n")
        if args.megatron is None:
            print("Megatron: skipped, --megatron does not name its tools/preprocess_data.py\n")
        elif not args.megatron.is_file():
            print(f"Megatron: skipped, there is no {args.megatron}\n")
        else:
            rows += megatron_rows(args.megatron, args.megatron_python, huggingface, args.workers)
        print("| text | tool | MB | MB/s | MB/CPU s | MB/CPU s running |\n|---|---|---|---|---|---|")
        size = args.megabytes * 10**6
        chinese = texts_of_file(args.chinese, size) if args.chinese else chinese_texts(vocabulary, size)
        alone = [sys.executable, "-c", ALONE, str(vocabulary), "{input}"]
        measure("chinese", chinese, size, rows, alone, folder)
        measure("code", code_texts(size), size, rows, alone, folder)


if __name__ == "__main__":
    main()
