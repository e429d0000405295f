"""Memory does not grow with the corpus."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import re, sys
from steel_megatron.corpus.dedup import SourceInput, deduplicate
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
deduplicate([SourceInput("s", sys.argv[1])], sys.argv[2], memory=1, part_bytes=4 << 20)
print(peak())
"""


def peak_kilobytes(folder: Path, documents: int) -> int:
    """Of a process that deduplicates short documents, a third of which are near copies."""
    generator = random.Random(1)
    source = folder / f"{documents}.jsonl"
    letters = "".join(chr(c) for c in range(0x4E00, 0x5E00))
    with open(source, "w", encoding="utf-8") as file:
        text = ""
        for number in range(documents):
            text = text + "好" if number % 3 == 2 else "".join(generator.choices(letters, k=30))
            file.write(json.dumps({"text": text, "source": "s", "id": f"{number}"}) + "\n")
    command = [sys.executable, "-c", PROGRAM, str(source), str(folder / f"out{documents}")]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return int(output.split()[-1])


def test_eight_times_the_documents_take_the_same_memory(tmp_path: Path) -> None:
    few, many = 12_000, 96_000
    # Held at once, the signatures of the larger run alone would be 24 MB, its band records 18 MB, its candidate pairs
    # as much again; ids, hashes and marks come on top.
    grown = peak_kilobytes(tmp_path, many) - peak_kilobytes(tmp_path, few)
    assert grown < 10_000
