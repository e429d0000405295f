"""Every compiled variant of every C++ part, one thread each, side by side.

    python benchmarks/instruction_sets.py [--only REGEX] [--rounds N]

A process per instruction set that this processor has (STEEL_CPU_CAPABILITY) runs every part; a figure is the least CPU
time of several rounds. Attention is in GFLOP/s of its causal products, everything else in MB/s: of UTF-8 text, of JSON,
of token ids, or of the bytes that a kernel reads and writes at least once. "copy" is the same for copying a tensor. The
parts without variants (text, jsonl, indexed) are compiled once, for every processor: a figure in one column.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

SETS = ("base", "avx2", "avx512", "avx512_bf16")
SENTENCES = (
    "The committee met on Tuesday, and after two hours it had agreed on nothing but the date. ",
    "Water boils at a lower temperature in the mountains; soups take longer there. ",
    "他把信放在桌上，没有再说一句话，窗外下着很大的雨。",
    "def area(width: float, height: float) -> float: return width * height\n",
)


class Part(NamedTuple):
    """Something to time: ``amount`` in gflop of bytes or of operations."""

    name: str
    unit: str
    amount: float
    call: Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts whose name this expression is found in")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--one", action="store_true", help="this process's own instruction set, as JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.only, args.rounds)))
        return
    found: dict[str, dict[str, float]] = {}
    for name in SETS:
        result = in_a_process(name, args)
        if result["set"] == name:
            found[name] = result["speeds"]
    print(f"{processor()}, one thread; `python {shlex.join(sys.argv)}`\n")
    print(table(found))


def in_a_process(name: str, args: argparse.Namespace) -> dict:
    command = [sys.executable, __file__, "--one", "--only", args.only, "--rounds", str(args.rounds)]
    environment = {**os.environ, "STEEL_CPU_CAPABILITY": name, "OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def measure(only: str, rounds: int) -> dict:
    """The speeds of this process's instruction set."""
    import torch

    from steel_megatron import _ops

    torch.set_num_threads(1)
    speeds = {}
    for parts in (texts, tokens, kernels, attention):
        for part in parts():
            if re.search(only, part.name):
                speeds[f"{part.name} ({part.unit})"] = part.amount / fastest(part.call, rounds)
    return {"set": _ops.instruction_set, "speeds": speeds}


def fastest(call: Callable[[], object], rounds: int) -> float:
    """CPU seconds: other programs hardly count."""
    call()
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        call()
        best = min(best, time.process_time() - started)
    return best


def texts() -> Iterator[Part]:
    """MinHash, statistics and edits of texts, and JSON."""
    from steel_megatron import _jsonl, _minhash, _text

    documents = ["".join(SENTENCES[(i * j) % 4] for j in range(60)) + str(i) for i in range(1, 200)]
    size = sum(len(document.encode()) for document in documents) / 1e6
    yield Part("minhash: signatures", "MB/s", size, lambda: _minhash.signatures(documents))
    yield Part("minhash: plain texts", "MB/s", size, lambda: _minhash.plain_texts(documents))
    overlap = _minhash.Overlap(13, 0.8, 100, 3)
    for document in documents[:20]:
        overlap.add_item(document[:400])
    overlap.finish()
    yield Part("minhash: overlap", "MB/s", size, lambda: overlap.find(documents))
    whole = "".join(documents)
    text = _text.Text(whole)
    yield Part("text: character repetition", "MB/s", size, lambda: text.character_repetition(10))
    yield Part("text: word repetition", "MB/s", size, lambda: text.word_repetition(5))
    yield Part("text: ratio", "MB/s", size, text.alphanumeric_ratio)
    yield Part(
        "text: repeated sentences", "MB/s", size, lambda: _text.Text(whole).remove_repeated_sentences(True, True, 2)
    )
    yield Part("text: punctuation", "MB/s", size, lambda: _text.Text(whole).punctuation_in_ascii())
    yield Part("text: unicode repair", "MB/s", size, lambda: _text.Text(whole).repair(lambda line, unescape: line))
    lines = "\n".join(json.dumps({"id": i, "text": d}, ensure_ascii=False) for i, d in enumerate(documents)).encode()
    yield Part("jsonl: extract", "MB/s", len(lines) / 1e6, lambda: _jsonl.extract(lines, ["text"]))


def tokens() -> Iterator[Part]:
    """Writing and ordering token ids, and reading an index."""
    import numpy as np

    from steel_megatron import _indexed

    ids = np.random.default_rng(0).integers(0, 50000, 4_000_000)
    lengths = np.full(4000, 1000, dtype=np.int64)
    order = np.random.default_rng(1).permutation(4000)
    short = ids.astype(np.uint16)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:

        def write() -> None:
            writer = _indexed.Writer(f"{folder}/ids", "uint16")
            writer.add_documents(ids, lengths)
            writer.finish()

        yield Part("indexed: int64 to uint16", "MB/s", ids.nbytes / 1e6, write)
        yield Part("indexed: gather", "MB/s", 2 * short.nbytes / 1e6, lambda: _indexed.gather(short, lengths, order))


def kernels() -> Iterator[Part]:
    """What ``kernels.py`` times, in fp32 and bf16."""
    import torch
    from kernel_cases import CASES, Shape

    from steel_megatron.ops.backends import use_kernel_backend

    use_kernel_backend("steel", "cpu")
    for dtype in (torch.float32, torch.bfloat16):
        shape = Shape("cpu", 1024, 320, 896, 8192, dtype)
        for cases_of in CASES:
            for case in cases_of(shape):
                call = case.calls.get("torch" if case.name == "copy" else "steel")
                if call is not None:
                    yield Part(f"{case.name}, {str(dtype)[6:]}", "MB/s", case.moved / 1e6, call)


def attention() -> Iterator[Part]:
    """Two products forward and five backward, each over half of the square."""
    import torch

    from steel_megatron.ops.native.attention import attention as ours

    for dtype in (torch.float32, torch.bfloat16):
        length, heads, size = 1024, 4, 64
        q, k, v = (torch.randn(length, heads, size, dtype=dtype).requires_grad_() for _ in range(3))
        starts = torch.tensor([0, length], dtype=torch.int32)
        gflop = heads * length * length * size / 1e9  # GFLOP of one product
        forward = partial(ours, q, k, v, starts)
        yield Part(f"attention, {str(dtype)[6:]}", "GFLOP/s", 2 * gflop, forward)
        y, _ = forward()
        backward = partial(torch.autograd.grad, y, (q, k, v), torch.ones_like(y), retain_graph=True)
        yield Part(f"attention, backward, {str(dtype)[6:]}", "GFLOP/s", 5 * gflop, backward)


def table(found: dict[str, dict[str, float]]) -> str:
    """Figures of each set, and the share of the widest one's that each narrower one has."""
    widest = list(found)[-1]
    lines = [f"| part | {' | '.join(found)} |", f"| --- |{' --- |' * len(found)}"]
    for part, best in found[widest].items():
        cells = []
        for speeds in found.values():
            if re.match(r"(text|jsonl|indexed|copy|minhash: (plain|overlap))", part):
                cells.append(f"{best:,.0f}" if speeds is found[widest] else "same")
            else:
                share = "" if speeds is found[widest] else f" ({speeds[part] / best:.2f})"
                cells.append(f"{speeds[part]:,.0f}{share}")
        lines.append(f"| {part} | {' | '.join(cells)} |")
    return "\n".join(lines)


def processor() -> str:
    listed = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return listed.group(1) if listed else platform.machine()


if __name__ == "__main__":
    main()
