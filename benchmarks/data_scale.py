"""How the stages from raw corpora to token ids scale: their work per core, their serial share, and from both the hours
for 1 T tokens.

    python benchmarks/data_scale.py --megabytes 500

Each stage runs in a process of its own with 1, 2 … workers, on all of the text and on a quarter of it. The difference
is what grows with the text, without what any run takes to start (imports, an encoder proving itself); all figures are
of that. CPU seconds are those of all processes of a stage, so other work on the machine hardly counts in them, as it
does in the time by the clock. Serial is what the main thread computes while there are workers: planning, handing out,
joining, manifests. Threads beside it hash; they run on other cores, at most four.

What the last table says is extrapolated from that: hours = bytes · CPU seconds per byte · (s + (1 - s) / cores), and
never less than reading and writing the stage's files takes at ``--disk``. It takes for granted that as many cores have
as many times the memory bandwidth and cache, that nothing is dropped on the way, and that documents are like these. On
several machines one process hands out all parts, as with --engine ray.

Documents are put together from sentences of this project's own pages (Chinese) and of the descriptions of installed
packages (English, code), so an encoder that remembers what it has seen is faster here than on a crawl.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT_BYTES = 4.2e12  # of 1 T tokens of Chinese with Qwen's vocabulary
FILE_BYTES = 16 << 20  # of a raw file
CHINESE_SHARE = 0.75
STAGES = ("convert", "clean", "dedup --exact-only", "dedup", "tokenize")
# Runs a command of steel and tells what its main thread and its processes took.
CHILD = """
import json, resource, sys, time
started = time.perf_counter()
from steel_megatron.cli.main import main
status = main(json.loads(sys.argv[1]))
wall, thread = time.perf_counter() - started, time.thread_time()
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
own, workers = (usage.ru_utime + usage.ru_stime for usage in used)
print("\\n" + json.dumps({"wall": wall, "main": thread, "beside": own - thread, "workers": workers}))
sys.exit(status)
"""


@dataclass(frozen=True)
class Took:
    """Seconds of a run: by the clock, and of CPU in its main thread, in threads beside it, and in its workers."""

    wall: float
    main: float
    beside: float
    workers: float

    @property
    def cpu(self) -> float:
        return self.main + self.beside + self.workers

    def less(self, other: Took) -> Took:
        """What this took more."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("wall", "main", "beside", "workers"))
        return Took(*(max(mine - theirs, 0.0) for mine, theirs in pairs))


def hours(cpu_seconds: float, serial: float, cores: int) -> float:
    """Amdahl: the serial share takes as long on any number of cores."""
    return cpu_seconds * (serial + (1 - serial) / cores) / 3600


def sentences(chinese: bool) -> list[str]:
    """Of the project's Chinese pages, or of the descriptions of installed packages."""
    if chinese:
        text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.rglob("*.zh-CN.md")))
        found = re.split(r"(?<=[。！？；])|\n", text)
    else:
        about = (str(each.metadata.get_payload()) for each in importlib.metadata.distributions())
        found = re.split(r"(?<=[.!?]) |\n", "\n".join(sorted(about)))
    return sorted({line.strip() for line in found if len(line.strip()) > (12 if chinese else 30)})


def documents(megabytes: float) -> Iterator[bytes]:
    """JSON lines of about so much text in all."""
    chance = random.Random(0)
    pools = [sentences(chinese=True), sentences(chinese=False)]
    size = 0
    while size < megabytes * 1e6:
        pool = pools[chance.random() >= CHINESE_SHARE]
        paragraphs = [" ".join(chance.choices(pool, k=chance.randint(2, 8))) for _ in range(chance.randint(1, 9))]
        text = "\n".join(paragraphs)
        size += len(text.encode())
        yield json.dumps({"text": text, "number": chance.randrange(10**9)}, ensure_ascii=False).encode() + b"\n"


def write_raw(folder: Path, lines: Iterator[bytes]) -> None:
    """Files as a crawl is published in."""
    folder.mkdir()
    file, size = None, 0
    for number, line in enumerate(lines):
        if file is None or size >= FILE_BYTES:
            file, size = open(folder / f"part-{number:09d}.jsonl", "wb"), 0  # noqa: SIM115 - closed when replaced
        size += file.write(line)


def text_megabytes(folder: Path) -> float:
    """Text in all files of a folder."""
    size = 0
    for path in folder.iterdir():
        with open(path, "rb") as file:
            size += sum(len(json.loads(line)["text"].encode()) for line in file)
    return size / 1e6


class Pipeline:
    """Raw files through all stages, each stage's output being the next one's input."""

    def __init__(self, folder: Path, raw: Path, recipe: Path, tokenizer: Path, form: str) -> None:
        self.folder, self.raw, self.recipe, self.tokenizer, self.form = folder, raw, recipe, tokenizer, form

    def run(self, stage: str, workers: int, output: Path) -> Took:
        """Runs a stage; what it made lies in ``output`` afterwards."""
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        words = [*self._words(stage, output), "--workers", str(workers)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, json.dumps(words)],
            capture_output=True,
            text=True,
            env=environment,
            cwd=output,
        )
        if done.returncode:
            sys.exit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return Took(**json.loads(done.stdout.splitlines()[-1]))

    def input_of(self, stage: str) -> Path:
        """Where a stage reads."""
        before = {"convert": self.raw, "clean": self._text("convert"), "tokenize": self.folder / "dedup" / "out"}
        return before.get(stage, self._text("clean"))

    def _text(self, stage: str) -> Path:
        return self.folder / stage / ("text" if self.form == "shards" else "text.jsonl.zst")

    def _words(self, stage: str, output: Path) -> list[str]:
        given, text = str(self.input_of(stage)), str(output / self._text(stage).name)
        return {
            "convert": ["convert", "--corpus", "jsonl", "--input", given, "--output", text],
            "clean": ["clean", "--recipe", str(self.recipe), "--input", given, "--output", text],
            "dedup": ["dedup", "--input", f"web={given}", "--output", str(output / "out")],
            "dedup --exact-only": ["dedup", "--exact-only", "--input", f"web={given}", "--output", str(output / "out")],
            "tokenize": [
                *("tokenize", "--input", given, "--output-prefix", str(output / "ids"), "--append-eod"),
                *("--tokenizer-model", str(self.tokenizer), "--log-interval", "1000000000"),
            ],
        }[stage]


def size_of(path: Path) -> int:
    """Bytes of all files below."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def measure(whole: Pipeline, small: Pipeline, counts: list[int], megabytes: float, more: float, disk: float) -> None:
    """Prints what each stage took, and what that means for 1 T tokens.

    Args:
        megabytes: text of the whole; ``more``: than the small one has.
    """
    print(
        f"{'stage':<20}{'workers':>8}{'clock s':>9}{'CPU s':>8}{'main':>7}{'beside':>8}{'MB/s core':>11}{'serial':>8}"
    )
    table = []
    for stage in STAGES:
        name = stage.replace(" --", "_").replace("-", "_")
        for workers in counts:
            quarter = small.run(stage, workers, small.folder / name)
            took = whole.run(stage, workers, whole.folder / name).less(quarter)
            serial = took.main / took.cpu if workers > 1 else float("nan")
            rate = more / took.cpu
            print(
                f"{stage:<20}{workers:>8}{took.wall:>9.1f}{took.cpu:>8.1f}{took.main:>7.2f}{took.beside:>8.2f}"
                f"{rate:>11.1f}{serial:>8.1%}",
                flush=True,
            )
        passes = 2 if stage.startswith("dedup") else 1
        moved = passes * size_of(whole.input_of(stage)) + size_of(whole.folder / name)
        table.append((stage, took.cpu / more, serial, moved / megabytes / 1e6))
    print(f"\nextrapolated to {TEXT_BYTES / 1e12:.1f} TB of text (1 T tokens), hours:\n")
    print(f"{'stage':<20}{'64 cores':>10}{'8 x 64':>10}{'disk alone':>12}{'one core':>12}")
    sums = [0.0, 0.0, 0.0]
    for stage, cpu, serial, moved in table:
        on_disk = TEXT_BYTES * moved / (disk * 1e9) / 3600
        each = [hours(cpu * TEXT_BYTES / 1e6, serial, cores) for cores in (64, 512, 1)]
        each[:2] = [max(each[0], on_disk), max(each[1], on_disk / 8)]
        if stage != "dedup --exact-only":
            sums = [total + more for total, more in zip(sums, each, strict=True)]
        print(f"{stage:<20}{each[0]:>10.2f}{each[1]:>10.2f}{on_disk:>12.2f}{each[2]:>12,.0f}")
    print(f"{'all (dedup near)':<20}{sums[0]:>10.2f}{sums[1]:>10.2f}{'':>12}{sums[2]:>12,.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=200, help="text to make (default: 200)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--workers", default=",".join(map(str, sorted({1, 2, cores}))), help="counts, with commas")
    parser.add_argument("--form", choices=("shards", "file"), default="shards", help="what lies between the stages")
    parser.add_argument("--recipe", default=str(ROOT / "recipes" / "zh_qa.yaml"), help="of clean")
    parser.add_argument("--tokenizer-model", metavar="PATH", help="default: one of 32,000 entries, trained here")
    parser.add_argument("--disk", type=float, default=3.0, help="GB/s that a node's disk reads or writes (default: 3)")
    parser.add_argument("--folder", help="where to work, emptied afterwards (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=args.folder) as name:
        folder = Path(name)
        for part in ("whole", "small"):
            (folder / part).mkdir()
        write_raw(folder / "raw", documents(args.megabytes))
        (folder / "quarter").mkdir()
        for path in sorted((folder / "raw").iterdir())[::4]:
            os.link(path, folder / "quarter" / path.name)
        tokenizer = Path(args.tokenizer_model) if args.tokenizer_model else folder / "tokenizer"
        if not args.tokenizer_model:
            sample = str(folder / "sample")
            write_raw(folder / "sample", documents(10))
            words = ["train-tokenizer", "--vocab-size", "32000", "--input", sample, "--output", str(tokenizer)]
            subprocess.run([sys.executable, "-m", "steel_megatron", *words], check=True, capture_output=True)
        megabytes, quarter = (text_megabytes(folder / name) for name in ("raw", "quarter"))
        print(f"command: python benchmarks/data_scale.py {' '.join(sys.argv[1:])}")
        print(f"{megabytes:.0f} MB of text, {cores} cores, {_processor()}; between the stages: {args.form}\n")
        how = (Path(args.recipe), tokenizer, args.form)
        whole = Pipeline(folder / "whole", folder / "raw", *how)
        small = Pipeline(folder / "small", folder / "quarter", *how)
        counts = [int(count) for count in args.workers.split(",")]
        measure(whole, small, counts, megabytes, megabytes - quarter, args.disk)


def _processor() -> str:
    """Name and widest instruction set of this machine."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.*)", flags)
    widest = next((each for each in ("avx512f", "avx2", "neon") if each in flags), "no vector set known")
    return f"{name[1] if name else platform.processor()} ({widest})"


if __name__ == "__main__":
    main()
