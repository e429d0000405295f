"""Writes, reads and merges an indexed dataset, beside a writer and reader in numpy that work as Megatron-LM's do.

Usage: python benchmarks/indexed.py [--documents N] [--tokens-per-document N] [--runs N] [--folder DIR]
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from steel_megatron.jobs.hashes import hash_file
from steel_megatron.tokens.indexed import IndexedDataset, IndexedWriter
from steel_megatron.tokens.manifest import Manifest, TokenizerRecord
from steel_megatron.tokens.merge.run import merge

BATCH = 1024  # documents that a tokenising worker hands over at once
PARTS = 8  # datasets that are merged
READS = 100_000  # documents read at random


class NumpyWriter:
    """One array per document to .bin, lengths and boundaries in Python lists until the end."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.file = open(f"{prefix}.bin", "wb")  # noqa: SIM115  # closed by finish
        self.lengths: list[int] = []
        self.boundaries = [0]

    def add_document(self, ids: Any) -> None:
        array = np.array(ids, np.int32)
        self.file.write(array.tobytes(order="C"))
        self.lengths.append(len(array))
        self.boundaries.append(len(self.lengths))

    def append_dataset(self, prefix: str) -> None:
        index = NumpyReader(prefix)
        offset = len(self.lengths)
        self.lengths.extend(index.lengths)
        self.boundaries.extend((offset + index.boundaries)[1:])
        with open(f"{prefix}.bin", "rb") as source:
            shutil.copyfileobj(source, self.file)

    def finish(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())  # as ours does, so that both have written
        self.file.close()
        lengths = np.array(self.lengths, np.int32)
        pointers = list(itertools.accumulate([0, *(4 * length for length in self.lengths[:-1])]))
        with open(f"{self.prefix}.idx", "wb") as file:
            file.write(b"MMIDIDX\x00\x00" + np.array([1], "<u8").tobytes() + b"\x04")
            file.write(np.array([len(self.lengths), len(self.boundaries)], "<u8").tobytes())
            file.write(lengths.tobytes() + np.array(pointers, "<i8").tobytes())
            file.write(np.array(self.boundaries, "<i8").tobytes())
            os.fsync(file.fileno())


class NumpyReader:
    """The index and the tokens as memory maps."""

    def __init__(self, prefix: str) -> None:
        index = np.memmap(f"{prefix}.idx", np.uint8, "r")
        sequences, boundaries = np.frombuffer(index, "<u8", 2, 18)
        self.lengths = np.frombuffer(index, "<i4", sequences, 34)
        self.pointers = np.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
        self.boundaries = np.frombuffer(index, "<i8", boundaries, 34 + 12 * sequences)
        self.tokens = np.memmap(f"{prefix}.bin", np.uint8, "r")

    def document(self, number: int) -> Any:
        return np.frombuffer(self.tokens, np.int32, self.lengths[number], self.pointers[number])


def batches(arguments: argparse.Namespace) -> list[tuple[Any, Any]]:
    """Ids and lengths of BATCH documents each; lengths vary about the mean."""
    random = np.random.default_rng(1)
    made = []
    for begin in range(0, arguments.documents, BATCH):
        count = min(BATCH, arguments.documents - begin)
        lengths = random.geometric(1 / arguments.tokens_per_document, count)
        made.append((random.integers(0, 150_000, lengths.sum(), np.int32), lengths))
    return made


def documents_of(work: list[tuple[Any, Any]]) -> Any:
    return (part for ids, lengths in work for part in np.split(ids, np.cumsum(lengths)[:-1]))


def write_numpy(work: list[tuple[Any, Any]], prefix: str) -> None:
    writer = NumpyWriter(prefix)
    for document in documents_of(work):
        writer.add_document(document)
    writer.finish()


def write_documents(work: list[tuple[Any, Any]], prefix: str) -> None:
    with IndexedWriter(prefix, "int32") as writer:
        for document in documents_of(work):
            writer.add_document(document)


def write_batches(work: list[tuple[Any, Any]], prefix: str, dtype: str = "int32") -> None:
    with IndexedWriter(prefix, dtype) as writer:
        for ids, lengths in work:
            writer.add_many(ids, lengths)


def write_manifest(prefix: str, work: list[tuple[Any, Any]]) -> None:
    """As ``steel tokenize`` leaves one; with it, merging checks and makes hashes."""
    Manifest(
        key="text",
        append_eod=False,
        tokenizer=TokenizerRecord("NullTokenizer", "", 150_000, None),
        dtype="int32",
        inputs=(),
        documents=sum(len(lengths) for _, lengths in work),
        tokens=sum(len(ids) for ids, _ in work),
        largest_id=149_999,
        text_bytes=0,
        blank_lines=0,
        rejects={},
        outputs={name: hash_file(f"{prefix}.{name}") for name in ("bin", "idx")},
    ).write(prefix)


def merge_numpy(prefixes: list[str], prefix: str) -> None:
    writer = NumpyWriter(prefix)
    for part in prefixes:
        writer.append_dataset(part)
    writer.finish()


def read_at_random(dataset: Any, numbers: list[int]) -> int:
    return sum(int(dataset.document(number)[0]) for number in numbers)


def median_seconds(calls: Mapping[str, Callable[[], object]], runs: int) -> dict[str, tuple[float, float]]:
    """By the clock and of CPU. Each in turn, so that a slow moment meets all; the first round does not count."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(runs + 1):
        for name, call in calls.items():
            os.sync()
            clock, cpu = time.perf_counter(), time.process_time()
            call()
            taken[name].append((time.perf_counter() - clock, time.process_time() - cpu))
    return {name: (median(pairs, 0), median(pairs, 1)) for name, pairs in taken.items()}


def median(pairs: list[tuple[float, float]], which: int) -> float:
    return statistics.median(pair[which] for pair in pairs[1:])


def contents(prefix: str) -> tuple[bytes, bytes]:
    return Path(f"{prefix}.idx").read_bytes(), Path(f"{prefix}.bin").read_bytes()


def measure_writing(arguments: argparse.Namespace, folder: str) -> None:
    """One table of writing and merging; the files are compared."""
    work = batches(arguments)
    megabytes = 4 * sum(len(ids) for ids, _ in work) / 1e6
    parts, marked = ([f"{folder}/{kind}{number}" for number in range(PARTS)] for kind in ("part", "marked"))
    for number in range(PARTS):
        for prefix in (parts[number], marked[number]):
            write_batches(work[number::PARTS], prefix)
        write_manifest(marked[number], work[number::PARTS])
    calls = {
        "numpy, one document at a time": lambda: write_numpy(work, f"{folder}/w0"),
        "`add_document`, one at a time": lambda: write_documents(work, f"{folder}/w1"),
        f"`add_many`, {BATCH} documents at a time": lambda: write_batches(work, f"{folder}/w2"),
        "`add_many`, int32 to int64": lambda: write_batches(work, f"{folder}/wide", "int64"),
        f"numpy merge of {PARTS}": lambda: merge_numpy(parts, f"{folder}/m0"),
        f"`merge` of {PARTS}": lambda: merge(parts, f"{folder}/m1", overwrite=True),
        f"`merge` of {PARTS} with manifests (SHA-256)": lambda: merge(marked, f"{folder}/m2", overwrite=True),
    }
    print(f"{arguments.documents:,} documents, {megabytes:,.0f} MB of int32 ids; ", end="")
    print(f"median of {arguments.runs} rounds, fsync included\n")
    print("| write and merge | seconds | CPU seconds | MB/s |\n|---|---|---|---|")
    for name, (seconds, cpu) in median_seconds(calls, arguments.runs).items():
        print(f"| {name} | {seconds:.2f} | {cpu:.2f} | {megabytes / seconds:,.0f} |")
    assert contents(f"{folder}/w0") == contents(f"{folder}/w1") == contents(f"{folder}/w2"), "not the same bytes"
    assert contents(f"{folder}/m0") == contents(f"{folder}/m1") == contents(f"{folder}/m2"), "not the same bytes"


def measure_reading(arguments: argparse.Namespace, prefix: str) -> None:
    """One table of opening and of documents at random."""
    numbers = np.random.default_rng(2).integers(0, arguments.documents, READS).tolist()
    theirs, ours = NumpyReader(prefix), IndexedDataset(prefix)
    reading = {
        "numpy: open": (1, lambda: NumpyReader(prefix)),
        "`IndexedDataset`: open": (1, lambda: IndexedDataset(prefix)),
        "numpy: a document at random": (READS, lambda: read_at_random(theirs, numbers)),
        "`IndexedDataset`: a document at random": (READS, lambda: read_at_random(ours, numbers)),
        "`IndexedDataset.validate`: a document": (arguments.documents, ours.validate),
    }
    print("\n| read | µs of CPU |\n|---|---|")
    for name, (_, cpu) in median_seconds({name: call for name, (_, call) in reading.items()}, arguments.runs).items():
        print(f"| {name} | {cpu / reading[name][0] * 1e6:,.3f} |")


def peak_memory(what: str, folder: str) -> float:
    """MB that merging adds to the peak of a process that has done nothing else."""
    command = [sys.executable, __file__, "--merge-in", folder, "--with", what]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def merge_and_tell(folder: str, what: str) -> None:
    """Merges 16 × one small-document dataset and prints the growth of this process's peak, in MB."""
    before = peak_kilobytes()
    writer: Any = NumpyWriter(f"{folder}/out") if what == "numpy" else IndexedWriter(f"{folder}/out", "int32")
    for _ in range(16):
        writer.append_dataset(f"{folder}/small")
    writer.finish()
    print((peak_kilobytes() - before) / 1024)


def peak_kilobytes() -> int:
    """Of this process since it started; ``ru_maxrss`` would begin with that of the process which started it."""
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--tokens-per-document", type=int, default=400, help="their mean")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", help="where the files are made; several times the size of the dataset")
    parser.add_argument("--merge-in", help=argparse.SUPPRESS)
    parser.add_argument("--with", dest="what", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.merge_in:
        merge_and_tell(arguments.merge_in, arguments.what)
        return
    print(f"`python {' '.join(sys.argv)}` on {platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"Python {platform.python_version()}, numpy {np.__version__}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure_writing(arguments, folder)
        measure_reading(arguments, f"{folder}/m0")
        write_batches([(np.ones(1 << 18, np.int32), np.ones(1 << 18, np.int64))], f"{folder}/small")
        print("\n| merge of 4.2 million short documents | MB of memory |\n|---|---|")
        for what in ("numpy", "`append_dataset`"):
            print(f"| {what} | {peak_memory(what, folder):,.0f} |")


if __name__ == "__main__":
    main()
