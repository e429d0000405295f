"""How much disk the preparation takes at its worst moment, estimated from the sizes of the files given."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from data_config import DataConfig, Source
from data_steps import files_of

from steel_megatron.config import DataError

# Bytes of text in a byte of a file, on the high side.
TEXT_PER_BYTE = {".gz": 3.2, ".tgz": 3.2, ".zst": 3.6, ".zip": 3.2, ".parquet": 3.0}
PACKED = 0.40  # bytes of JSON lines packed by zstd, per byte of text
BYTES_PER_TOKEN = 4.0  # of text; Chinese with the Qwen vocabulary has 4.18, code fewer bytes
# Signatures, bands and parts on disk, per byte of text: measured with documents of 1 kB, longer ones take less.
DEDUP_WORK = 0.30


@dataclass(frozen=True)
class Need:
    """Bytes of a source: as given, as text, as packed JSON lines, as tokens."""

    name: str
    raw: int
    text: int
    packed: int
    tokens: int


def need_of(source: Source, token_bytes: int) -> Need:
    """
    Args:
        token_bytes: 2 or 4, bytes of an id in a dataset.
    """
    raw = text = 0
    for file in files_of(list(source.inputs)):
        raw += file.bytes
        text += int(file.bytes * TEXT_PER_BYTE.get(Path(file.path).suffix, 1.0))
    return Need(source.name, raw, text, int(text * PACKED), int(text / BYTES_PER_TOKEN * token_bytes))


def peak_bytes(needs: list[Need], config: DataConfig, keep: bool) -> tuple[int, int]:
    """The largest number of bytes at any moment, and those at the end; nothing is assumed to be dropped.

    A stage writes its output in parts and joins them, so for a moment it takes twice its output.
    """
    held = peak = 0
    recipes = {source.name: source.recipe for source in config.sources}

    def stage(output: int, work: int, frees: int) -> None:
        nonlocal held, peak
        peak = max(peak, held + output + work)
        held += output - (0 if keep else frees)

    for need in needs:
        stage(need.packed, need.packed, 0)
        if recipes[need.name]:
            stage(need.packed, need.packed, need.packed)
    if config.dedup is not None:
        packed = sum(need.packed for need in needs)
        stage(packed, int(DEDUP_WORK * sum(need.text for need in needs)), packed)
    for need in needs:
        stage(need.tokens, need.tokens, need.packed)
    return peak, held


def check_disk(config: DataConfig, work: Path, keep: bool, token_bytes: int, anyway: bool) -> str:
    """A table of the needs.

    Raises:
        DataError: they are larger than what is free, unless ``anyway``.
    """
    needs = [need_of(source, token_bytes) for source in config.sources]
    peak, end = peak_bytes(needs, config, keep)
    there = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
    free = shutil.disk_usage(work).free
    rows = [("source", "raw", "text", "packed", "tokens")]
    rows += [(n.name, *(size_text(size) for size in (n.raw, n.text, n.packed, n.tokens))) for n in needs]
    table = "\n".join(f"  {row[0]:<14}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows)
    summary = f"disk: at most about {size_text(peak)}, {size_text(end)} at the end; {size_text(free)} are free"
    if peak > free + there and not anyway:
        raise DataError(
            f"{summary} in {work}\n{table}",
            rule="the most that is needed at once, when no document is dropped, is free",
            fix="use another WORK, fewer sources at a time (ONLY), KEEP_INTERMEDIATE=0, or IGNORE_DISK=1",
        )
    return f"{summary}\n{table}"


def size_text(size: float) -> str:
    """``1.5 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} TB"
