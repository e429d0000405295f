"""How much disk the preparation takes at its worst moment: of the files given, or planned for a number of tokens.

    python examples/pretrain_1b/disk_need.py --tokens 1T --vocab-size 151936

Stages write shards, which take their names without a copy, and ids go to their places while they are made: a stage
takes its output once, and what it needs besides.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data_config import DataConfig, Dedup, Source
from data_steps import files_of

from steel_megatron.config import DataError
from steel_megatron.jobs.sizes import parse_size
from steel_megatron.tokens.token_type import AUTO, TOKEN_TYPES, chosen_type, stored

# Bytes of text in a byte of a file, on the high side.
TEXT_PER_BYTE = {".gz": 3.2, ".tgz": 3.2, ".zst": 3.6, ".zip": 3.2, ".parquet": 3.0}
PACKED = 0.40  # bytes of JSON lines packed by zstd, per byte of text
BYTES_PER_TOKEN = 4.0  # of text; Chinese with the Qwen vocabulary has 4.18, code fewer bytes
INDEX_BYTES = 20  # of a document in .idx: length, pointer, boundary
DOCUMENT_BYTES = 1000  # of text, on the low side
# Signatures, bands and lists of dedup, per document, at their most: measured with documents of 1 kB.
DEDUP_WORK = 300


@dataclass(frozen=True)
class Need:
    """Bytes of a source: as given, as text, as packed JSON lines, as tokens with their index."""

    name: str
    raw: int
    text: int
    packed: int
    tokens: int


class Moment(NamedTuple):
    """Bytes that a stage takes with all that is there: at its worst moment, and when it is done."""

    stage: str
    most: int
    after: int


def token_bytes_of(vocab_size: int, token_type: str = AUTO) -> int:
    """Bytes of an id in a dataset: two or four in Megatron's types, three with ``uint24``."""
    return int(stored(chosen_type(token_type, vocab_size)).itemsize)


def need_of(source: Source, token_bytes: int) -> Need:
    """
    Args:
        token_bytes: of an id in a dataset.
    """
    raw = text = 0
    for file in files_of(list(source.inputs)):
        raw += file.bytes
        text += int(file.bytes * TEXT_PER_BYTE.get(Path(file.path).suffix, 1.0))
    return _need(source.name, raw, text, text / BYTES_PER_TOKEN, token_bytes, DOCUMENT_BYTES)


def _need(name: str, raw: int, text: int, tokens: float, token_bytes: int, document_bytes: int) -> Need:
    index = INDEX_BYTES * text // document_bytes
    return Need(name, raw, text, int(text * PACKED), int(tokens * token_bytes) + index)


def moments(
    needs: Sequence[Need], config: DataConfig, keep: bool, at_once: int = 1, document_bytes: int = DOCUMENT_BYTES
) -> list[Moment]:
    """The stages in their order; nothing is assumed to be dropped.

    Args:
        keep: the text of every stage stays; else that of a step goes when all that read it are done.
        at_once: steps beside one another.
    """
    cleaned = {source.name for source in config.sources if source.recipe}
    packed = [need.packed for need in needs]
    twice = sorted((need.packed for need in needs if need.name in cleaned), reverse=True)
    held = sum(packed) + (sum(twice) if keep else 0)
    found = [Moment("convert, clean", held + (0 if keep else sum(twice[:at_once])), held)]
    if config.dedup is not None:
        work = DEDUP_WORK * sum(need.text for need in needs) // document_bytes
        most, held = held + sum(packed) + work, sum(packed) + (held if keep else 0)
        found.append(Moment("dedup", most, held))
    most = made = 0
    for number, need in enumerate(needs):
        made += need.tokens
        begun = max(number + 1 - at_once, 0)  # texts before this one are gone
        most = max(most, made + held - (0 if keep else sum(packed[:begun])))
    found.append(Moment("tokenize", most, made + (held if keep else 0)))
    return found


def check_disk(config: DataConfig, work: Path, keep: bool, token_bytes: int, anyway: bool, at_once: int = 1) -> str:
    """A table of the needs.

    Raises:
        DataError: they are larger than what is free, unless ``anyway``.
    """
    needs = [need_of(source, token_bytes) for source in config.sources]
    stages = moments(needs, config, keep, at_once)
    peak, end = max(moment.most for moment in stages), stages[-1].after
    there = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    free = shutil.disk_usage(work).free
    rows = [("source", "raw", "text", "packed", "tokens")]
    rows += [(n.name, *(size_text(size) for size in (n.raw, n.text, n.packed, n.tokens))) for n in needs]
    table = "\n".join(f"  {row[0]:<14}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows)
    summary = f"disk: at most about {size_text(peak)}, {size_text(end)} at the end; {size_text(free)} are free"
    if peak > free + there and not anyway:
        raise DataError(
            f"{summary} in {work}\n{table}\n{stage_table(stages)}",
            rule="the most that is needed at once, when no document is dropped, is free",
            fix="use another WORK, fewer sources at a time (ONLY), KEEP_INTERMEDIATE=0, or IGNORE_DISK=1",
        )
    return f"{summary}\n{table}\n{stage_table(stages)}"


def stage_table(stages: Sequence[Moment]) -> str:
    """A line for each stage."""
    rows = [("stage", "at most", "when done"), *((s.stage, size_text(s.most), size_text(s.after)) for s in stages)]
    return "\n".join(f"  {row[0]:<14}{row[1]:>12}{row[2]:>12}" for row in rows)


def size_text(size: float) -> str:
    """``1.5 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} TB"


def planned(tokens: int, bytes_per_token: float, token_bytes: int, document_bytes: int, sources: int) -> list[Need]:
    """So many equal sources of so many tokens in all, with the raw files elsewhere."""
    each = tokens // sources
    text = int(each * bytes_per_token)
    return [_need(f"source{n}", 0, text, each, token_bytes, document_bytes) for n in range(sources)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="1T", help="Of all sources (default: 1T).")
    parser.add_argument("--vocab-size", type=int, default=151_936, help="Ids below 65,500 take two bytes, else four.")
    parser.add_argument("--token-type", choices=TOKEN_TYPES, default=AUTO, help="As of steel tokenize.")
    parser.add_argument("--bytes-per-token", type=float, default=4.18, help="Of text (default: 4.18, Chinese, Qwen).")
    parser.add_argument("--document-bytes", type=int, default=2500, help="Of text, on average (default: 2500).")
    parser.add_argument("--sources", type=int, default=10, help="Equal ones (default: 10).")
    parser.add_argument("--at-once", type=int, default=4, help="Steps beside one another (default: 4).")
    args = parser.parse_args()
    token_bytes = token_bytes_of(args.vocab_size, args.token_type)
    how = (token_bytes, args.document_bytes, args.sources)
    needs = planned(parse_size(args.tokens), args.bytes_per_token, *how)
    config = DataConfig(tuple(Source(need.name, "", (), "a recipe") for need in needs), Dedup())
    print(f"{args.tokens} tokens of {args.vocab_size:,} ids, {token_bytes} bytes each; raw files lie elsewhere")
    for keep, says in (
        (True, "KEEP_INTERMEDIATE=1: every text stays"),
        (False, "KEEP_INTERMEDIATE=0: dropped as used"),
    ):
        print(f"{says}\n{stage_table(moments(needs, config, keep, args.at_once, args.document_bytes))}")


if __name__ == "__main__":
    main()
