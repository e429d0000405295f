"""Small runs of deduplication: records to files, outputs to Python."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from steel_megatron.corpus.dedup import Deduplicated, SourceInput, deduplicate
from steel_megatron.jobs.unpack import read_content


def write_source(folder: Path, name: str, texts: Iterable[str], **fields: Any) -> Path:
    """``name``.jsonl of the texts, with ids ``name``/0, ``name``/1, …; not touched where it is there already."""
    path = folder / f"{name}.jsonl"
    records = ({"text": text, "source": name, "id": f"{name}/{n}", **fields} for n, text in enumerate(texts))
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)
    return path


def run_dedup(folder: Path, sources: Mapping[str, Iterable[str]], output: str = "out", **options: Any) -> Deduplicated:
    """Deduplicates lists of texts."""
    inputs = [SourceInput(name, str(write_source(folder, name, texts))) for name, texts in sources.items()]
    return deduplicate(inputs, folder / output, **options)


def lines_of(path: Path) -> list[bytes]:
    """The lines of a file, unpacked, with their line feeds."""
    return b"".join(read_content(path)).splitlines(keepends=True)


def kept_ids(done: Deduplicated) -> list[str]:
    """Ids of all kept records, in order of the outputs."""
    files = [done.output / file["output"] for file in done.report["files"]]
    return [json.loads(line)["id"] for file in files for line in lines_of(file)]


def fallen(done: Deduplicated) -> dict[str, dict[str, Any]]:
    """The entry of each record that fell, by its id."""
    entries = map(json.loads, lines_of(done.output / "duplicates.jsonl.zst"))
    return {entry["id"]: entry for entry in entries}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
