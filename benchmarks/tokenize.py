"""Speed of encoders, and of ``steel tokenize`` beside plain ``tokenizers`` batches and Megatron-LM's tool.

    pip install --no-deps dashscope      # the vocabulary
    pip install fastokens gigatoken
    python benchmarks/tokenize.py --megabytes 100 [--megatron Megatron-LM/tools/preprocess_data.py]

Chinese, English and code, Qwen's vocabulary, text that no encoder has seen before in the row. Chinese is made of the
vocabulary's own words, common ones often, in clauses and paragraphs, at random: hardly a clause comes twice, so caches
of clauses do not help, as in real text. ``--chinese FILE.jsonl`` takes real text instead. English is the docstrings,
code the Python files of the standard library and of the installed packages, each once.

The first table has encoders alone, one thread each, in MB of UTF-8 per CPU second on their first pass; "from lines"
begins with a file of JSON lines, the others with Python texts in memory. They take turns, round by round; a figure is
the median of the rounds, "× fastokens" that of the ratios within a round. "same": the ids are those of ``tokenizers``,
or of the first encoder where that is left out.

In the second table each row is a process of its own. "MB/CPU s" counts the CPU seconds of all processes of the row from
their start on, "running" is that of the last three quarters of the text alone: the difference to the same command on
the first quarter. On a busy machine both say more than the clock. All rows but Megatron's must write the same ids.
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
import re
import resource
import statistics
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

# One encoder alone: what it is called, the tokenizer's folder, the lines. Prints CPU seconds and a hash of the ids.
ALONE = """
import hashlib, json, sys, time
import numpy as np
name, model, path = sys.argv[1:]
digest = hashlib.sha256()
if name == "steel, from lines":
    import pickle, tempfile
    from pathlib import Path
    from steel_megatron.tokenizer import build_tokenizer
    from steel_megatron.tokenizer.steel_encoder import SteelEncoder
    encoder = SteelEncoder.of(build_tokenizer(None, model), Path(tempfile.mkdtemp(), "encoder"))
    seconds = 0
    with open(path, "rb") as lines:
        while batch := b"".join(lines.readlines(2 << 20)):
            started = time.process_time()
            ids = encoder.encode_lines(batch, ["text"], "control", None).keys[0].ids_T
            seconds += time.process_time() - started
            digest.update(ids)
    print(seconds, digest.hexdigest())
    sys.exit()
if name == "gigatoken":
    from gigatoken import Tokenizer
    encoder = Tokenizer(model)
    encode = lambda texts: np.concatenate([np.asarray(ids) for ids in encoder.encode_batch_list(texts, parallel=False)])
elif name == "tokenizers":
    from tokenizers import Tokenizer
    encoder = Tokenizer.from_file(model + "/tokenizer.json")
    encoder.encode_special_tokens = True
    encode = lambda texts: np.concatenate([e.ids for e in encoder.encode_batch_fast(texts, add_special_tokens=False)])
else:
    import tempfile
    from pathlib import Path
    from steel_megatron.tokenizer import build_tokenizer
    from steel_megatron.tokenizer.encoders import choose_encoder
    encoder = choose_encoder(build_tokenizer(None, model), name, ["x"], Path(tempfile.mkdtemp())).encoder
    encode = lambda texts: encoder.encode_batch(texts).ids_T
texts = [json.loads(line)["text"] for line in open(path, "rb")]
seconds = start = size = 0
for i, text in enumerate(texts):
    size += len(text)
    if size > 600_000 or i + 1 == len(texts):
        started = time.process_time()
        ids = encode(texts[start : i + 1])
        seconds += time.process_time() - started
        digest.update(ids.astype(np.int32))
        start, size = i + 1, 0
print(seconds, digest.hexdigest())
"""
ENCODERS = ("steel", "steel, from lines", "fastokens", "gigatoken", "tiktoken", "tokenizers")


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


def english_texts(size: int) -> Iterator[str]:
    """Docstrings of the standard library and of the packages installed, those of a file together, each once."""
    seen: set[str] = set()
    taken = 0
    for code in code_texts(sys.maxsize):
        found = re.findall(r'"""(.*?)"""', code, re.DOTALL)
        new = [text for text in dict.fromkeys(found) if len(text) > 80 and text not in seen]
        seen.update(new)
        if new:
            taken += len("".join(new).encode("utf-8", "replace"))
            yield "\n\n".join(new)
        if taken >= size:
            return


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


def write_lines(name: str, texts: Iterator[str], wanted: int, folder: Path) -> tuple[Path, Path, float, float]:
    """A file of JSON lines and its first quarter, and their megabytes of text."""
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
    return path, quarter, size / 1e6, quarter_size / 1e6


def compare_encoders(name: str, encoders: list[str], model: Path, path: Path, megabytes: float, rounds: int) -> None:
    """Prints the encoders' rows of one kind of text."""
    rates: dict[str, list[float]] = {}
    hashes: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for number in range(rounds):
        for encoder in encoders:
            if encoder in skipped or (encoder == "tokenizers" and number > 0):
                continue  # tokenizers takes a minute and hardly varies
            try:
                seconds, ids = run([sys.executable, "-c", ALONE, encoder, str(model), str(path)], path, path)[2].split()
            except RuntimeError as error:
                skipped[encoder] = str(error)
                continue
            rates.setdefault(encoder, []).append(megabytes / float(seconds))
            hashes[encoder] = ids
    for encoder in encoders:
        if encoder in skipped:
            print(f"| {name} | {encoder} | skipped: {skipped[encoder]} | | |", flush=True)
            continue
        peer = rates.get("fastokens", [])
        ratios = [rate / other for rate, other in zip(rates[encoder], peer, strict=False)]
        ratio = f"{statistics.median(ratios):.2f}" if ratios else ""
        same = "yes" if hashes[encoder] == (hashes.get("tokenizers") or next(iter(hashes.values()))) else "no"
        print(f"| {name} | {encoder} | {statistics.median(rates[encoder]):.1f} | {ratio} | {same} |", flush=True)


def measure(name: str, lines: tuple[Path, Path, float, float], rows: list[Row], folder: Path) -> None:
    """Prints the rows of one kind of text."""
    path, quarter, megabytes, quarter_megabytes = lines
    rest = megabytes - quarter_megabytes
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
    command = [sys.executable, "-m", "steel_megatron", "tokenize", *flags]
    ids = "{output}_text_document.bin"
    return [
        *(Row(f"steel tokenize, {number} workers", [*command, "--workers", str(number)], ids) for number in workers),
        Row("steel tokenize --encoder fastokens, 1 worker", [*command, "--encoder", "fastokens"], ids),
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
    parser.add_argument("--table", choices=("encoders", "tokenize", "both"), default="both", help="(default: both)")
    parser.add_argument("--encoders", nargs="+", choices=ENCODERS, default=ENCODERS, help="alone (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="of the encoders alone (default: 3)")
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
    from steel_megatron import _bpe
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
        size = args.megabytes * 10**6
        kinds = {
            "Chinese": texts_of_file(args.chinese, size) if args.chinese else chinese_texts(vocabulary, size),
            "English": english_texts(size),
            "code": code_texts(size),
        }
        lines = {name: write_lines(name, texts, size, folder) for name, texts in kinds.items()}
        print(f"instruction set of steel: {_bpe.instruction_set}\n")
        if args.table != "tokenize":
            print("| text | encoder | MB/CPU s | × fastokens | same |\n|---|---|---|---|---|")
            for name, (path, _, megabytes, _) in lines.items():
                compare_encoders(name, args.encoders, huggingface, path, megabytes, args.rounds)
        if args.table != "encoders":
            print("\n| text | tool | MB | MB/s | MB/CPU s | MB/CPU s running |\n|---|---|---|---|---|---|")
            for name, of_kind in lines.items():
                measure(name, of_kind, rows, folder)


if __name__ == "__main__":
    main()
