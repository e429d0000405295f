"""Recall and precision of ``steel dedup`` on a planted set, and its speed beside datasketch and rensa, in one run.

Usage: python benchmarks/dedup.py [--families N] [--megabytes N] [--folder DIR]
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from helpers.planted_duplicates import Planted, Writer, plant
from steel_megatron._minhash import SHINGLE, grams, plain_texts, signatures
from steel_megatron.corpus.dedup import DedupSettings, SourceInput, deduplicate
from steel_megatron.corpus.repeated_lines import remove_lines
from steel_megatron.jobs.unpack import read_content

ALIKE, UNLIKE = 0.85, 0.5
EDGES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0)
PEER_MEGABYTES = 4  # slower tools are timed on less of the same text


@dataclass
class Pair:
    jaccard: float
    joined: bool


def write_records(path: Path, records: Iterable[tuple[str, str]]) -> int:
    """Writes JSON lines; returns the bytes of text."""
    size = 0
    with open(path, "w", encoding="utf-8") as file:
        for name, text in records:
            file.write(json.dumps({"text": text, "source": "planted", "id": name}, ensure_ascii=False) + "\n")
            size += len(text.encode())
    return size


def kept_of(output: Path) -> dict[str, str]:
    """Of each document that fell, the one that was kept."""
    lines = b"".join(read_content(output / "duplicates.jsonl.zst")).splitlines()
    return {entry["id"]: entry["kept_id"] for entry in map(json.loads, lines)}


def related_pairs(documents: list[Planted], kept: dict[str, str]) -> list[Pair]:
    """The pairs within families, and those of different families that were joined all the same."""
    pairs = []
    for _, family in itertools.groupby(documents, key=lambda document: document.family):
        sets = [(document, set(grams(document.text, SHINGLE).tolist())) for document in family]
        for (one, one_set), (two, two_set) in itertools.combinations(sets, 2):
            joined = kept.get(one.id, one.id) == kept.get(two.id, two.id)
            pairs.append(Pair(len(one_set & two_set) / max(len(one_set | two_set), 1), joined))
    family_of = {document.id: document.family for document in documents}
    pairs += [Pair(0.0, True) for one, two in kept.items() if family_of[one] != family_of[two]]
    return pairs


def measure_quality(families: int, folder: Path) -> None:
    """A table of how many pairs were joined by their true Jaccard."""
    print(f"\n## Recall and precision: {families} families of documents in each language\n")
    for language, chinese in (("Chinese", True), ("English", False)):
        documents = list(plant(families, seed=1, chinese=chinese))
        source = folder / f"{language}.jsonl"
        write_records(source, ((document.id, document.text) for document in documents))
        # Pairs are joined in groups only so; against what is kept, two that are alike may fall for different documents.
        groups = DedupSettings(against="any")
        deduplicate([SourceInput("planted", str(source))], folder / language, settings=groups)
        pairs = related_pairs(documents, kept_of(folder / language))
        print(f"{language}: {len(documents):,} documents\n\n| true Jaccard | pairs | joined |\n|---|---|---|")
        for low, high in itertools.pairwise(EDGES):
            within = [pair for pair in pairs if low <= pair.jaccard < high or pair.jaccard == high == 1]
            joined = sum(pair.joined for pair in within)
            print(f"| {low:.2f} to {high:.2f} | {len(within):,} | {100 * joined / max(len(within), 1):.1f} % |")
        alike = [pair.joined for pair in pairs if pair.jaccard >= ALIKE]
        joined_pairs = [pair for pair in pairs if pair.joined]
        right = sum(pair.jaccard > UNLIKE for pair in joined_pairs)
        print(f"\nRecall at true Jaccard >= {ALIKE}: {np.mean(alike):.4f} of {len(alike):,} pairs. ", end="")
        print(f"Precision (joined pairs above {UNLIKE}): {right / len(joined_pairs):.4f} of {len(joined_pairs):,}.\n")


def megabytes_per_second(call: Callable[[list[str]], object], texts: list[str], runs: int = 3) -> float:
    """Of UTF-8 text per second of CPU; the best of some runs."""
    size = sum(len(text.encode()) for text in texts) / 1e6
    best = float("inf")
    for _ in range(runs):
        start = time.process_time()
        call(texts)
        best = min(best, time.process_time() - start)
    return size / best


def peers() -> dict[str, Callable[[list[str]], object] | str]:
    """128 permutations over character 5-grams by other tools, or why they are not measured."""
    found: dict[str, Callable[[list[str]], object] | str] = {}
    for name, make in (("datasketch", _datasketch), ("rensa", _rensa)):
        found[name] = make() if importlib.util.find_spec(name) else f"skipped: pip install {name}"
    return found


def _shingles(text: str) -> set[str]:
    return {text[at : at + SHINGLE] for at in range(len(text) - SHINGLE + 1)}


def _datasketch() -> Callable[[list[str]], object]:
    from datasketch import MinHash

    def sign(texts: list[str]) -> list[Any]:
        made = []
        for text in texts:
            minhash = MinHash(num_perm=128)
            minhash.update_batch([shingle.encode() for shingle in _shingles(text)])
            made.append(minhash.hashvalues)
        return made

    return sign


def _rensa() -> Callable[[list[str]], object]:
    from rensa import RMinHash

    def sign(texts: list[str]) -> list[Any]:
        made = []
        for text in texts:
            minhash = RMinHash(num_perm=128, seed=1)
            minhash.update(list(_shingles(text)))
            made.append(minhash.digest())
        return made

    return sign


def measure_speed(megabytes: int, folder: Path) -> None:
    """Signatures beside other tools on one core, then whole runs."""
    writer = Writer(2, chinese=True)
    texts: list[str] = []
    size = 0
    while size < megabytes * 1_000_000:
        texts.append("\n".join(writer.document(960)))
        size += len(texts[-1].encode())
    few = texts[: max(1, len(texts) * PEER_MEGABYTES // megabytes)]
    print(
        "## Speed on Chinese, 960 characters a document\n\n| signatures, 128 permutations | MB/s per core | ours is |"
    )
    print("|---|---|---|")
    ours = megabytes_per_second(lambda texts: signatures(texts), texts)
    print(f"| steel_megatron | {ours:,.0f} | |")
    for name, call in peers().items():
        if isinstance(call, str):
            print(f"| {name} | {call} | |")
        else:
            theirs = megabytes_per_second(call, few, runs=1)
            print(f"| {name} | {theirs:,.1f} | {ours / theirs:,.0f} × |")
    print(f"| steel_megatron: text to hash for exact comparison | {megabytes_per_second(plain_texts, texts):,.0f} | |")
    source = folder / "speed.jsonl"
    write_records(source, ((str(number), text) for number, text in enumerate(texts)))
    print(f"\n| whole run, {size / 1e6:,.0f} MB of text in plain JSON lines | seconds | MB/s |\n|---|---|---|")
    for workers in (1, 2):
        start = time.perf_counter()
        given = [SourceInput("speed", str(source))]
        deduplicate(given, folder / f"speed{workers}", workers=workers, part_bytes=32 << 20)
        seconds = time.perf_counter() - start
        print(f"| {workers} worker{'s' * (workers > 1)} | {seconds:.1f} | {size / seconds / 1e6:,.0f} |")
        start = time.perf_counter()
        remove_lines(given, folder / f"lines{workers}", workers=workers, part_bytes=32 << 20)
        seconds = time.perf_counter() - start
        print(f"| lines, {workers} worker{'s' * (workers > 1)} | {seconds:.1f} | {size / seconds / 1e6:,.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", type=int, default=300)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--folder", help="where files are made; several times --megabytes")
    arguments = parser.parse_args()
    print(f"`python {' '.join(sys.argv)}` on {platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"Python {platform.python_version()}, numpy {np.__version__}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure_quality(arguments.families, Path(folder))
        measure_speed(arguments.megabytes, Path(folder))


if __name__ == "__main__":
    main()
