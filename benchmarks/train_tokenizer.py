"""Time and memory of ``steel train-tokenizer`` beside the trainer of ``tokenizers``.

    pip install --no-deps jieba      # a list of Chinese words with their frequencies
    python benchmarks/train_tokenizer.py --megabytes 100 1000 --theirs 100

Chinese is made of the words of jieba's dictionary, each as often as in the corpus that was counted for it, in clauses
and paragraphs at random: hardly a clause comes twice, as in real text, and no word depends on the one before, so that
there are more different pairs than in real text. Code is the Python files of the standard library and of the packages
installed, each content once and, where they do not suffice, again with other names.

Each row is a process of its own with the ones it starts. "MB" is the text, "peak" the largest sum of what its
processes have in memory, looked at ten times a second. On a busy machine CPU seconds say more than the clock. A row of
theirs whose vocabulary and merges are not ours says so. The table of runs has one text of one run without a break.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

THEIRS = """
import json, sys
from tokenizers import models, pre_tokenizers, trainers
from steel_megatron.tokenizer.byte_bpe import QWEN_PATTERN
from steel_megatron.tokenizer.hf_folder import byte_level_bpe
source, target, size = sys.argv[1:]
backend = byte_level_bpe(models.BPE(), QWEN_PATTERN, "NFC")
texts = (json.loads(line)["text"] for line in open(source, "rb"))
trainer = trainers.BpeTrainer(
    vocab_size=int(size), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
)
backend.train_from_iterator(texts, trainer)
open(target, "w").write(backend.to_str())
"""

LOOK_SECONDS = 0.1
RUNS = {
    "ideographs": lambda choose, size: "".join(choose.choices([chr(c) for c in range(0x4E00, 0x4E00 + 3000)], k=size)),
    "ACGT": lambda choose, size: "".join(choose.choices("ACGT", k=size)),
    "base64": lambda choose, size: "".join(
        choose.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", k=size)
    ),
    "emoji": lambda choose, size: "".join(choose.choices([chr(c) for c in range(0x1F600, 0x1F650)], k=size)),
    "blanks": lambda choose, size: " " * size,
    "line ends": lambda choose, size: "\n" * size,
}


class Measured(NamedTuple):
    """Seconds by the clock and of the processors, and the peak of memory in bytes."""

    clock: float
    cpu: float
    peak: int


def chinese_texts(words_file: Path, size: int) -> Iterator[str]:
    """Texts of 400 words; ``words_file`` has a word and its frequency on each line."""
    pairs = [line.split(" ")[:2] for line in words_file.read_text(encoding="utf-8").splitlines()]
    words = np.array([word for word, _ in pairs], dtype=object)
    ends = np.cumsum([float(count) for _, count in pairs])
    generator = np.random.default_rng(0)
    taken = 0
    while taken < size:
        chosen = words[np.searchsorted(ends, generator.random(200_000) * ends[-1])]
        chance = generator.random(len(chosen))
        marks = np.select([chance < 0.09, chance < 0.13, chance < 0.14], ["，", "。", "。\n"], "").astype(object)
        for at in range(0, len(chosen), 400):
            text = "".join((chosen[at : at + 400] + marks[at : at + 400]).tolist())
            taken += len(text.encode())
            yield text
            if taken >= size:
                return


def code_texts(size: int) -> Iterator[str]:
    """Python files, again with a number behind every long name when all have been given."""
    taken = 0
    for turn in range(1000):
        seen: set[int] = set()
        for name in ("stdlib", "purelib"):
            for file in sorted(Path(sysconfig.get_path(name)).rglob("*.py")):
                text = file.read_text(encoding="utf-8", errors="replace")
                if hash(text) in seen:
                    continue
                seen.add(hash(text))
                if turn:
                    text = re.sub(r"\b[a-z_]{7,}\b", lambda found, turn=turn: f"{found[0]}{turn}", text)
                taken += len(text.encode())
                yield text
                if taken >= size:
                    return


def write(path: Path, texts: Iterator[str]) -> float:
    """A file of JSON lines; returns the megabytes of text."""
    size = 0
    with open(path, "w", encoding="utf-8") as file:
        for text in texts:
            size += len(text.encode())
            file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
    return size / 1e6


def memory_of(process: int) -> int:
    """Bytes that a process and those below it have in memory."""
    total, todo = 0, [process]
    while todo:
        current = todo.pop()
        try:
            total += int(Path(f"/proc/{current}/statm").read_text(encoding="ascii").split()[1])
            for task in Path(f"/proc/{current}/task").iterdir():
                todo += map(int, (task / "children").read_text(encoding="ascii").split())
        except (OSError, ValueError):
            continue
    return total * os.sysconf("SC_PAGE_SIZE")


def measure(command: list[str], most_seconds: float) -> Measured | str:
    """Runs a command; a text says why there is no result."""
    before, started, peak = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter(), 0
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            time.sleep(LOOK_SECONDS)
            if time.perf_counter() - started > most_seconds:
                process.kill()
                process.wait()
                return f"stopped after {most_seconds:.0f} s, {peak / 1e9:.2f} GB"
        if process.returncode != 0:
            errors.seek(0)
            return (errors.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(time.perf_counter() - started, cpu, peak)


def learned(path: Path) -> tuple[dict[str, int], list[list[str]]]:
    """Vocabulary and merges of a tokenizer.json."""
    model = json.loads(path.read_bytes())["model"]
    return model["vocab"], model["merges"]


def ours(source: Path, target: Path, size: int, workers: int, memory: str) -> list[str]:
    flags = ["--input", str(source), "--output", str(target), "--vocab-size", str(size), "--special-tokens"]
    limits = ["--workers", str(workers), "--memory", memory, "--overwrite"]
    return [sys.executable, "-m", "steel_megatron", "train-tokenizer", *flags, *limits]


def cells(found: Measured | str, megabytes: float) -> str:
    if isinstance(found, str):
        return f"{found} | | | |"
    rate = megabytes / found.cpu
    return f"{found.clock:.1f} | {found.cpu:.1f} | {rate:.2f} | {found.peak / 1e9:.2f} |"


def table_of_texts(args: argparse.Namespace, folder: Path) -> None:
    print("| text | MB | trainer | seconds | CPU s | MB/CPU s | peak GB |\n|---|---|---|---|---|---|---|", flush=True)
    for megabytes in args.megabytes:
        for kind in args.texts:
            source = folder / f"{kind}.jsonl"
            size = megabytes * 10**6
            written = write(source, chinese_texts(args.words, size) if kind == "chinese" else code_texts(size))
            for workers in args.workers:
                target = folder / f"ours{workers}"
                found = measure(ours(source, target, args.vocab_size, workers, args.memory), args.most_seconds)
                name = f"steel train-tokenizer, {workers} workers, {args.memory}"
                print(f"| {kind} | {written:.0f} | {name} | {cells(found, written)}", flush=True)
            if megabytes <= args.theirs:
                their = folder / "theirs.json"
                command = [sys.executable, "-c", THEIRS, str(source), str(their), str(args.vocab_size)]
                found = measure(command, args.most_seconds)
                same = ""
                if isinstance(found, Measured) and learned(their) != learned(target / "tokenizer.json"):
                    same = ": other merges than ours"
                print(f"| {kind} | {written:.0f} | tokenizers{same} | {cells(found, written)}", flush=True)
            source.unlink()


def table_of_runs(args: argparse.Namespace, folder: Path) -> None:
    print("\n| run | characters | steel train-tokenizer, CPU s | tokenizers, CPU s |\n|---|---|---|---|", flush=True)
    source, their = folder / "run.jsonl", folder / "theirs.json"
    for name, make in RUNS.items():
        for length in args.runs:
            write(source, iter([make(random.Random(0), length)]))
            found = measure(ours(source, folder / "run", 2000, 1, args.memory), args.most_seconds)
            row = f"{found.cpu:.1f}" if isinstance(found, Measured) else found
            other = "not tried"
            if length <= args.longest_of_theirs:
                command = [sys.executable, "-c", THEIRS, str(source), str(their), "2000"]
                found = measure(command, args.most_seconds)
                other = f"{found.cpu:.1f}" if isinstance(found, Measured) else found
            print(f"| {name} | {length:,} | {row} | {other} |", flush=True)


def main() -> None:
    """Parses the flags and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="*", default=[100], help="of text (default: 100)")
    parser.add_argument("--texts", nargs="+", choices=["chinese", "code"], default=["chinese", "code"])
    parser.add_argument("--theirs", type=int, default=100, help="most megabytes that tokenizers gets (default: 100)")
    parser.add_argument("--runs", type=int, nargs="*", default=[20_000, 40_000, 1_000_000], help="characters of runs")
    parser.add_argument("--longest-of-theirs", type=int, default=40_000, help="longest run that tokenizers gets")
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--memory", default="8G", help="of ours (default: 8G)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--words", type=Path, help="words with frequencies (default: jieba's dictionary)")
    parser.add_argument("--most-seconds", type=float, default=3600, help="of a row")
    args = parser.parse_args()
    if args.words is None and "chinese" in args.texts:
        spec = importlib.util.find_spec("jieba")
        if spec is None or spec.origin is None:
            raise SystemExit("no list of Chinese words: pip install --no-deps jieba, or give --words")
        args.words = Path(spec.origin).parent / "dict.txt"
    from steel_megatron._minhash import instruction_set

    print(f"python {' '.join(sys.argv)}\n\n{os.cpu_count()} processors, {instruction_set}\n")
    with tempfile.TemporaryDirectory() as temporary:
        table_of_texts(args, Path(temporary))
        table_of_runs(args, Path(temporary))


if __name__ == "__main__":
    main()
