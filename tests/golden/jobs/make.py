"""Made files.tar.gz beside it, once, with the code of commit ecd3879, and files_07d5f40.tar.gz with that of 07d5f40.

Both are version 0.1.0; between them journals, marks of parts and rejects got new forms. They stand for what users have
on their disks: tests/jobs/test_golden.py reads them and goes on with them. Made again, they would hold today's forms.

Usage, in an empty folder: python make.py; tar -czf files.tar.gz * (whole runs are in done/, stopped ones in half/).
"""

from __future__ import annotations

import gzip
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from steel_megatron.tokenizer.hf_folder import write_folder
from steel_megatron.tokenizer.train import train_bpe

MADE_AT = 1_700_000_000  # seconds: modification time of the inputs
ROOT = "@ROOT@"  # stands for the absolute path of the folder
PART_BYTES = 600
LINES = 40


def write_inputs() -> None:
    """raw/a.jsonl and raw/b.jsonl.gz: Chinese and English, repeats, and lines that are no records."""
    lines = []
    for n in range(LINES):
        text = (
            f"第{n % 23}篇：今天天气很好，我们去公园散步，看见了许多花。" * (1 + n % 3) + f" page {n % 23} of the book."
        )
        lines.append(json.dumps({"text": text, "id": f"d{n}", "url": f"http://x/{n}"}, ensure_ascii=False).encode())
    lines[7:7] = [b"no record", b'{"text": 5}', b"", b'{"text": "  "}', b'{"text": "bad \xff"}']
    Path("raw").mkdir()
    Path("raw/a.jsonl").write_bytes(b"\n".join(lines[:30]) + b"\n")
    Path("raw/b.jsonl.gz").write_bytes(gzip.compress(b"\n".join(lines[30:]) + b"\n", mtime=0))
    Path("recipe.yaml").write_text("process: [{text_length_filter: {min_len: 40}}, {clean_links_mapper: }]\n")
    text = b"".join(lines).decode("utf-8", "replace")
    write_folder(train_bpe([text], 300, ["<|endoftext|>"]), ["<|endoftext|>"], Path("tokenizer"))
    for path in Path("raw").iterdir():
        os.utime(path, (MADE_AT, MADE_AT))


def run(command: str, folder: str) -> Any:
    """One command of the package into a folder."""
    from steel_megatron.corpus import convert_corpus
    from steel_megatron.corpus.cleaning import clean, read_recipe
    from steel_megatron.corpus.dedup import SourceInput, deduplicate
    from steel_megatron.dataset.tokenize import tokenize
    from steel_megatron.tokenizer import build_tokenizer

    if command == "convert":
        return convert_corpus("jsonl", ["raw"], f"{folder}/converted.jsonl", part_bytes=PART_BYTES)
    if command == "clean":
        return clean(read_recipe("recipe.yaml"), ["raw"], f"{folder}/cleaned.jsonl", part_bytes=PART_BYTES)
    if command == "dedup":
        return deduplicate([SourceInput("web", "raw")], f"{folder}/dedup", part_bytes=PART_BYTES)
    return tokenize(
        ["raw"],
        f"{folder}/ids",
        build_tokenizer(None, "tokenizer"),
        append_eod=True,
        block_bytes=500,
        journal_bytes=1000,
    )


class Stopped(BaseException):
    """As Ctrl-C."""


def stop_after(module: Any, name: str, count: int) -> Any:
    """Makes a function fail at its call number ``count`` + 1; returns it as it was."""
    real, calls = getattr(module, name), 0

    def stopping(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > count:
            raise Stopped
        return real(*args)

    setattr(module, name, stopping)
    return real


def main() -> None:
    from steel_megatron.corpus import convert
    from steel_megatron.corpus.cleaning import run as cleaning
    from steel_megatron.corpus.dedup import write
    from steel_megatron.dataset import tokenize as tokenizing

    logging.disable()
    write_inputs()
    for folder in ("done", "half"):
        Path(folder).mkdir()
    for command in ("convert", "clean", "dedup", "tokenize"):
        run(command, "done")
    stops = {
        "convert": (convert, "convert_part", 3),
        "clean": (cleaning, "clean_part", 3),
        "dedup": (write, "write_part", 2),
        "tokenize": (tokenizing, "tokenize_block", 7),
    }
    for command, (module, name, count) in stops.items():
        real = stop_after(module, name, count)
        try:
            run(command, "half")
        except Stopped:
            print(command, "stopped")
        setattr(module, name, real)
    here = str(Path.cwd())
    for path in Path().rglob("*"):
        if path.is_file() and here.encode() in (content := path.read_bytes()):
            path.write_bytes(content.replace(here.encode(), ROOT.encode()))
            print("path replaced in", path)
    shutil.rmtree("__pycache__", ignore_errors=True)


if __name__ == "__main__":
    main()
