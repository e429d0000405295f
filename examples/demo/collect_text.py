"""Collects real text that this machine has, in the shape in which corpora are published.

- Python's standard library as starcoderdata has source code: parquet, some files behind its pseudo-tags.
- This repository's English and Chinese documents as JSON lines, a record per section.

Usage: python examples/demo/collect_text.py --output demo_run/raw
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = {
    "encodings",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idle_test",
    "idlelib",
    "lib2to3",
    "turtledemo",
}
DOCUMENTS = ("*.md", "docs/**/*.md", "examples/**/*.md")
TAGGED_EVERY = 3  # so many source files have one with tags, which `steel convert` takes away again
ROWS_PER_GROUP = 100


def main() -> int:
    """Writes ``OUTPUT/code`` and ``OUTPUT/documents`` unless they are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to make")
    output = Path(parser.parse_args().output)
    if output.is_dir():
        print(f"{output} is there already")
        return 0
    library = Path(sysconfig.get_paths()["stdlib"])
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    files = source_files(library)
    if not files:
        print(f"error: no Python sources in {library}; give text of your own: DEMO_INPUT=/path/to/*.jsonl make demo")
        return 2
    count = write_code(partial / "code" / "python" / "train-00000-of-00001.parquet", library, files)
    print(f"{output}/code: {count:,} source files of Python {sys.version.split()[0]} as parquet")
    for language, records in documents(ROOT).items():
        write_jsonl(partial / "documents" / f"{language}.jsonl", records)
        print(f"{output}/documents/{language}.jsonl: {len(records):,} sections")
    os.replace(partial, output)
    return 0


def source_files(library: Path) -> list[Path]:
    """The library's sources without tests and without packages of others."""
    return sorted(path for path in library.rglob("*.py") if not LEFT_OUT.intersection(path.relative_to(library).parts))


def write_code(path: Path, library: Path, files: list[Path]) -> int:
    """The files as starcoderdata's parquet; returns how many could be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("max_stars_repo_path", pa.string()),
            ("max_stars_repo_name", pa.string()),
            ("max_stars_count", pa.float64()),
            ("id", pa.string()),
            ("content", pa.string()),
        ]
    )
    path.parent.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for file in tqdm(files, desc="collect", unit="file", disable=None):
            row = source_record(library, file, count)
            if row is not None:
                count += 1
                rows.append(row)
            if len(rows) == ROWS_PER_GROUP or (file == files[-1] and rows):
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
    return count


def source_record(library: Path, file: Path, number: int) -> dict[str, Any] | None:
    """A record as starcoderdata has it; None for a file that cannot be read."""
    try:
        with tokenize.open(file) as source:
            content = source.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None
    name = file.relative_to(library).as_posix()
    if number % TAGGED_EVERY == 0:
        content = f"<reponame>python/cpython<filename>Lib/{name}<gh_stars>1000+\n{content}"
    return {
        "max_stars_repo_path": f"Lib/{name}",
        "max_stars_repo_name": "python/cpython",
        "max_stars_count": None if number % 2 else float(number),
        "id": str(number),
        "content": content,
    }


def documents(root: Path) -> dict[str, list[dict[str, str]]]:
    """Language → sections of the repository's documents."""
    found: dict[str, list[dict[str, str]]] = {"en": [], "zh": []}
    files = sorted({path for pattern in DOCUMENTS for path in root.glob(pattern)})
    for path in tqdm(files, desc="collect", unit="document", disable=None):
        language = "zh" if path.name.endswith(".zh-CN.md") else "en"
        name = path.relative_to(root).as_posix()
        for number, section in enumerate(sections(path.read_text(encoding="utf-8")), start=1):
            found[language].append({"id": f"{name}#{number}", "text": section})
    return found


def sections(text: str) -> Iterator[str]:
    """The text cut before each heading of the second level."""
    for section in re.split(r"(?m)^(?=## )", text):
        if section.strip():
            yield section.strip() + "\n"


def write_jsonl(path: Path, records: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


if __name__ == "__main__":
    sys.exit(main())
