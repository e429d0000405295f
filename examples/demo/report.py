"""Draws a run's loss with the place of its kill, and says what the kill cost.

Usage: python examples/demo/report.py --run RUN --killed FILE --output loss_curve.png
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steel_megatron.training.output.metrics_rows import read_metrics

Rows = Sequence[dict[str, Any]]


def main() -> int:
    """Prints a summary and writes the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, type=Path, metavar="DIR", help="folder of the run")
    parser.add_argument("--killed", required=True, type=Path, metavar="FILE", help="copy of the metrics at the kill")
    parser.add_argument("--output", required=True, type=Path, metavar="PNG", help="figure to write")
    args = parser.parse_args()
    rows, before = read_metrics(args.run / "metrics.jsonl"), read_metrics(args.killed)
    print("\n".join([*kill_summary(rows, before), *loss_summary(rows)]))
    draw(rows, before, args.output)
    return 0


def kill_summary(rows: Rows, before: Rows) -> list[str]:
    """How the steps after the resume compare with the same steps before the kill."""
    steps = [row["step"] for row in rows]
    if steps != list(range(1, len(steps) + 1)):
        raise ValueError(f"the run's metrics do not hold each step once: {steps}")
    again = replayed(rows, before)
    lines = [f"killed at step {before[-1]['step']}; metrics hold every step from 1 to {steps[-1]} once"]
    if again:
        first, last = again[0][0]["step"], again[-1][0]["step"]
        largest = max(abs(new["loss"] - old["loss"]) for new, old in again)
        same = "the same loss to the last bit" if largest == 0 else f"losses that differ by at most {largest:.2g}"
        which = f"steps {first} to {last} were" if first < last else f"step {first} was"
        lines.append(f"{which} computed twice, before and after the kill, with {same}")
    return lines


def replayed(rows: Rows, before: Rows) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Steps computed before the kill and again after it, as (after, before); rows that were kept have the same time."""
    old = {row["step"]: row for row in before}
    pairs = [(row, old[row["step"]]) for row in rows if row["step"] in old]
    return [(new, then) for new, then in pairs if new["step_seconds"] != then["step_seconds"]]


def loss_summary(rows: Rows) -> list[str]:
    """First and last losses."""
    lines = [
        f"training loss   {rows[0]['loss']:.3f} at step {rows[0]['step']} → "
        f"{rows[-1]['loss']:.3f} at step {rows[-1]['step']}"
    ]
    valid = [row for row in rows if row.get("valid_loss") is not None]
    if valid:
        first, last = valid[0], valid[-1]
        lines.append(
            f"validation loss {first['valid_loss']:.3f} at step {first['step']} → {last['valid_loss']:.3f} at step "
            f"{last['step']} (perplexity {math.exp(first['valid_loss']):,.0f} → {math.exp(last['valid_loss']):,.0f})"
        )
    return lines


def draw(rows: Rows, before: Rows, output: Path) -> None:
    """Training loss, what the killed run had computed beyond its last checkpoint, and validation loss."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5))
    axes.plot([row["step"] for row in rows], [row["loss"] for row in rows], color="#4c78a8", label="training loss")
    lost = [then for _, then in replayed(rows, before)]
    axes.plot(
        [row["step"] for row in lost],
        [row["loss"] for row in lost],
        color="#f58518",
        linewidth=5,
        alpha=0.4,
        label="computed before the kill, and again after it",
    )
    valid = [row for row in rows if row.get("valid_loss") is not None]
    axes.plot(
        [row["step"] for row in valid],
        [row["valid_loss"] for row in valid],
        color="#54a24b",
        marker="o",
        label="validation loss",
    )
    axes.axvline(before[-1]["step"], color="#e45756", linestyle="--", label=f"SIGKILL at step {before[-1]['step']}")
    axes.set(xlabel="step", ylabel="loss per token", title="The demo's training run")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(output, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
