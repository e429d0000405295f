"""What the trace predicts for the presets on common cards, as a file that ``gpu_check.sh`` holds measurements against.

    python benchmarks/gpu_predictions.py [--output benchmarks/gpu_predictions.json] [--only REGEX]

Runs ``gpu_trace.py`` for every row of :data:`ROWS`, in processes of its own, and prints them as a table. The file is
shipped because the fake device needs a CPU build of torch, which a machine with a GPU has not. It takes some minutes.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILE = HERE / "gpu_predictions.json"
CARDS = ("a100-80g", "h100", "h200")
# (preset, layout, samples of a micro-batch, samples of a step): one card as train_step.py times it.
ROWS = [(preset, "dp1", batch, batch) for preset in ("steel_1b", "tinyllama_1.1b") for batch in (8, 16)]


def predict(preset: str, card: str, layout: str, micro_batch: int, batch: int) -> dict[str, Any]:
    """The figures of ``gpu_trace.py --json`` without its parts, and what they are of.

    Raises:
        RuntimeError: the trace fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        flags = {
            "--preset": preset,
            "--card": card,
            "--layout": layout,
            "--micro-batch-size": str(micro_batch),
            "--global-batch-size": str(batch),
            "--json": str(file),
        }
        words = [word for pair in flags.items() for word in pair]
        done = subprocess.run(
            [sys.executable, str(HERE / "gpu_trace.py"), *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"gpu_trace.py {' '.join(words)}: {done.stderr[-2000:]}")
        figures = json.loads(file.read_text(encoding="utf-8"))
    del figures["kinds"]
    return {"preset": preset, "micro_batch_size": micro_batch, **figures}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    names = ("preset", "card", "layout", "micro-batch", "prices", "tokens/s per GPU", "MFU, all keys", "MFU, causal")
    names += ("of the matmul roof", "traffic × minimum", "peak memory, GB")
    lines = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    for row in rows:
        for title, prefix in (("at the roofs", ""), ("expected", "expected_")):
            rate = row["tokens"] / row[f"{prefix}seconds"] / row["devices"]
            lines.append(
                f"| {row['preset']} | {row['card']} | {row['layout']} | {row['micro_batch_size']} | {title} | "
                f"{rate:,.0f} | {row[f'{prefix}mfu_full']:.1%} | {row[f'{prefix}mfu_causal']:.1%} | "
                f"{row[f'{prefix}share_of_roof']:.1%} | {row['traffic_bytes'] / row['traffic_minimum_bytes']:.2f} | "
                f"{row['peak_bytes'] / 1e9:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=FILE, help="the file")
    parser.add_argument("--only", default="", metavar="REGEX", help="of 'preset card layout micro-batch'")
    args = parser.parse_args()
    rows = []
    for preset, layout, micro_batch, batch in ROWS:
        for card in CARDS:
            if not re.search(args.only, f"{preset} {card} {layout} {micro_batch}"):
                continue
            print(f"{preset} on {card}, {layout}, micro-batch {micro_batch}", file=sys.stderr, flush=True)
            rows.append(predict(preset, card, layout, micro_batch, batch))
    whole = {"torch": importlib.metadata.version("torch"), "rows": rows}
    args.output.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
