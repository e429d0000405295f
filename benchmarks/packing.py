"""What best-fit packing costs and saves: truncation and padding against plain packing, the index, and reading samples.

Documents have lognormal lengths, of a median and a spread that can be given; their tokens are zeros in a sparse file.

Usage: python benchmarks/packing.py [--documents N] [--median TOKENS] [--sigma S] [--seq-length L ...]
"""

from __future__ import annotations

import argparse
import platform
import resource
import struct
import tempfile
import time
from pathlib import Path

import numpy as np

from steel_megatron.reports.packing_report import packing_report, packing_text
from steel_megatron.samples.cutting.windows import Windows
from steel_megatron.samples.sources import PackingOptions, open_source
from steel_megatron.tokens.indexed import IndexedDataset

SAMPLES = 2000  # read for the time of a sample


def main() -> None:
    """Prints a block per sample length."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=5_000_000)
    parser.add_argument("--median", type=float, default=500, help="tokens of the median document")
    parser.add_argument("--sigma", type=float, default=1.1, help="standard deviation of the logarithm of the lengths")
    parser.add_argument("--seq-length", type=int, nargs="+", default=[2048, 4096, 8192])
    arguments = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        prefix = write_documents(f"{folder}/data", arguments.documents, arguments.median, arguments.sigma)
        for seq_length in arguments.seq_length:
            before = peak_memory()
            print(f"\n{packing_text(packing_report(IndexedDataset(prefix), seq_length))}")
            index = next(Path(folder).glob(f"*best_fit_{seq_length}_*.packing"))
            size = index.stat().st_size / arguments.documents
            print(f"index: {size:.1f} bytes per document; peak memory added {peak_memory() - before:.0f} MB")
            for name, best_fit in (("plain", False), ("best fit", True)):
                source = open_source("data", prefix, seq_length, None, packing=PackingOptions(best_fit))
                print(f"{name}: {read_seconds(source.windows['train']) * 1e6:.1f} µs per sample with its documents")


def write_documents(prefix: str, documents: int, median: float, sigma: float) -> str:
    """A dataset of two-byte zeros that take no room on the disk but their index."""
    random = np.random.default_rng(1)
    lengths = np.maximum(np.exp(random.normal(np.log(median), sigma, documents)), 1).astype(np.int32)
    pointers = 2 * np.concatenate(([0], np.cumsum(lengths[:-1], dtype=np.int64)))
    with open(f"{prefix}.bin", "wb") as file:
        file.truncate(2 * int(lengths.sum(dtype=np.int64)))
    with open(f"{prefix}.idx", "wb") as file:
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, documents, documents + 1))
        lengths.tofile(file)
        pointers.tofile(file)
        np.arange(documents + 1, dtype=np.int64).tofile(file)
    return prefix


def read_seconds(windows: Windows) -> float:
    """Time of a sample at random places: its tokens, its document starts and which labels count."""
    places = np.random.default_rng(2).integers(0, len(windows), SAMPLES).tolist()
    for _ in range(2):  # the first time brings the pages into memory
        started = time.perf_counter()
        for place in places:
            np.array(windows[place])
            windows.document_starts(place)
            windows.counted(place)
    return (time.perf_counter() - started) / SAMPLES


def peak_memory() -> float:
    """Of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    main()
