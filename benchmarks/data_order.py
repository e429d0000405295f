"""What the data order costs on a source of a trillion tokens (a sparse file) and on mixtures of many sources.

Usage: python benchmarks/data_order.py [--tokens N] [--documents N] [--index-array]
"""

from __future__ import annotations

import argparse
import platform
import resource
import struct
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from steel_megatron.samples.cutting.windows import SourceWindows
from steel_megatron.samples.mixing.phases import Phase
from steel_megatron.samples.order import Order
from steel_megatron.tokens.indexed import IndexedDataset

SEQ_LENGTH = 2048


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=10**12)
    parser.add_argument("--documents", type=int, default=10**6, help="of equal length, at most 2^31 - 1 tokens each")
    parser.add_argument("--index-array", action="store_true", help="also time a shuffled index, not needed here")
    parser.add_argument("--folder", help="where the sparse file is made; its apparent size is 4 bytes per token")
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        prefix = write_sparse(f"{folder}/sparse", arguments.tokens, arguments.documents)
        one_source(prefix)
    for sources in (10, 1000):
        many_sources(sources, arguments.tokens // SEQ_LENGTH)
    if arguments.index_array:
        windows = arguments.tokens // SEQ_LENGTH
        seconds, array = timed(lambda: np.random.default_rng(1).permutation(windows))
        row("shuffled index array of one epoch", f"{seconds:.1f} s, {array.nbytes / 1e9:.1f} GB")


def write_sparse(prefix: str, tokens: int, documents: int) -> str:
    """A dataset of zeros that takes no room on the disk but its index."""
    length = tokens // documents
    with open(f"{prefix}.bin", "wb") as file:
        file.truncate(4 * length * documents)
    with open(f"{prefix}.idx", "wb") as file:
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 4, documents, documents + 1))
        np.full(documents, length, np.int32).tofile(file)
        (np.arange(documents, dtype=np.int64) * (4 * length)).tofile(file)
        np.arange(documents + 1, dtype=np.int64).tofile(file)
    return prefix


def one_source(prefix: str) -> None:
    """Opening, the first sample and later ones of one source."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    opened, dataset = timed(lambda: IndexedDataset(prefix))

    def first_sample() -> tuple[Order, SourceWindows, int]:
        windows = SourceWindows(dataset, 0, dataset.document_count, SEQ_LENGTH)
        order = Order(1234, [Phase.of(0, {"web": 1})], {"web": len(windows)})
        window = order.at(0).window
        np.array(windows[window])
        return order, windows, window

    first, (order, windows, window) = timed(first_sample)
    found, _ = timed(lambda: windows.document_starts(window))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    row("one source", f"{windows.tokens:,} tokens, {len(windows):,} windows, {dataset.document_count:,} documents")
    row("  open the dataset", f"{opened * 1e3:.2f} ms")
    row("  order, first sample and its tokens", f"{first * 1e3:.2f} ms")
    row("  its document starts, from the index", f"{found * 1e3:.2f} ms")
    row("  peak memory added by these", f"{memory / 1024:.1f} MB")
    per_sample(order, len(windows))


def many_sources(sources: int, windows: int) -> None:
    """Building and reading the order of a mixture with weights over five orders of magnitude."""
    weights = {f"s{number:04}": float(weight) for number, weight in enumerate(np.geomspace(1, 1e5, sources))}
    seconds, order = timed(lambda: Order(1, [Phase.of(0, weights)], dict.fromkeys(weights, windows)))
    row(f"mixture of {sources} sources", f"built in {seconds * 1e3:.2f} ms")
    per_sample(order, windows)


def per_sample(order: Order, samples: int) -> None:
    """Time of one sample alone and in a batch."""
    picked = np.random.default_rng(0).integers(0, samples, 4096)
    seconds, _ = timed(lambda: [order.at(int(n)) for n in picked])
    row("  at(n)", f"{seconds / len(picked) * 1e6:.1f} µs per sample")
    seconds, _ = timed(lambda: order.at_many(np.arange(1 << 30, (1 << 30) + 4096)))
    row("  at_many(4096 samples)", f"{seconds / 4096 * 1e6:.2f} µs per sample")


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


def row(what: str, result: str) -> None:
    print(f"{what:<40} {result}")


if __name__ == "__main__":
    main()
