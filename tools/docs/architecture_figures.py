"""Draws docs/figures/floors.svg and docs/figures/sample_path.svg.

Usage: python tools/docs/architecture_figures.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from xml.sax.saxutils import escape

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "figures"
WIDTH, LEFT, GAP = 980, 90, 10
COLOURS = ("#f2f2f2", "#e3edf7", "#d3e5d5", "#fdebd0", "#f5dcdc", "#e6dff0", "#dceef0", "#d9d9d9")

# From the top: floor, then folder → what it holds.
FLOORS: tuple[tuple[int, dict[str, str]], ...] = (
    (7, {"cli": "steel COMMAND: parses, calls, prints"}),
    (
        6,
        {
            "training": "loop, startup, callbacks, faults",
            "verify": "every layout, one run",
            "reports": "figures, inspection",
        },
    ),
    (
        5,
        {
            "huggingface": "families, in and out",
            "generate": "text from a model",
            "plan": "memory, time, machine",
        },
    ),
    (4, {"checkpoint": "save, load, reshard, keep", "optim": "AdamW, clip, schedule"}),
    (3, {"model": "GPT, block, attention, ffn, presets", "samples": "order, mixing, cutting, batches, loader"}),
    (2, {"parallel": "grid, tensor, pipeline, data (ZeRO-1)", "tokens": "indexed files, tokenise, foreign, merge"}),
    (1, {"ops": "fused operations", "corpus": "records → text, no torch", "tokenizer": "text ↔ ids, no torch"}),
    (0, {"config": "every knob, typed, documented, checked", "jobs": "inputs, parts, pools, locks, whole files"}),
)

# Rows of (who, what happens, what comes out).
PATH: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "once, per corpus",
        (
            ("corpus", "read by content, template, normalise", "text.jsonl.zst, rejects"),
            ("tokenizer", "special tokens off", "ids"),
            ("tokens", "C++ writer, workers in order", ".bin, .idx, manifest"),
        ),
    ),
    (
        "every step",
        (
            ("samples", "order(seed, phases, n)", "source, epoch, window"),
            ("samples", "window → tokens, labels, mask", "micro-batch of this rank"),
            ("model", "forward; loss summed over tokens", "loss, gradients"),
            ("parallel", "buckets reduced while backward runs", "sum of gradients, sharded"),
            ("optim", "norm, clip, AdamW on this rank's rows", "weights, gathered"),
        ),
    ),
    (
        "now and then",
        (
            ("checkpoint", "pieces by canonical name, marker last", "step_0001000/"),
            ("huggingface", "names declared with the parameters", "Hugging Face folder"),
        ),
    ),
)


def main() -> int:
    """Writes the figures, or with ``--check`` says whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only compare; exit status 1 when a figure is stale")
    check = parser.parse_args().check
    stale = False
    for name, drawn in (("floors.svg", floors()), ("sample_path.svg", sample_path())):
        path = FIGURES / name
        stale = stale or not path.is_file() or path.read_text(encoding="utf-8") != drawn
        if not check:
            path.write_text(drawn, encoding="utf-8")
    return int(check and stale)


def floors() -> str:
    """The floors from top to ground; an arrow says which way imports go."""
    height, parts, top = 58, [], 16
    for floor, folders in FLOORS:
        parts.append(text(LEFT - 16, top + height / 2 + 4, f"floor {floor}", anchor="end"))
        width = (WIDTH - LEFT - 60 - GAP * (len(folders) - 1)) / len(folders)
        for i, (folder, what) in enumerate(folders.items()):
            x = LEFT + i * (width + GAP)
            parts.append(box(x, top, width, height, COLOURS[floor]))
            parts.append(text(x + width / 2, top + 25, folder, bold=True, size=15))
            parts.append(text(x + width / 2, top + 44, what))
        top += height + GAP
    parts.append(arrow(WIDTH - 34, 20, WIDTH - 34, top - 16))
    parts.append(text(WIDTH - 20, top / 2, "imports", turned=True))
    csrc = "csrc/indexed: the files of tokens/, read and written in C++ (pybind11)"
    parts.append(text(LEFT, top + 16, csrc, anchor="start"))
    return svg(parts, top + 32)


def sample_path() -> str:
    """A text's way from a corpus to the model and out."""
    height, parts, top = 96, [], 34
    for title, steps in PATH:
        parts.append(text(16, top - 10, title, bold=True, anchor="start"))
        gap = 22
        width = (WIDTH - 32 - 4 * gap) / 5
        for i, (who, what, out) in enumerate(steps):
            x = 16 + i * (width + gap)
            floor = next(floor for floor, folders in FLOORS if who in folders)
            parts.append(box(x, top, width, height, COLOURS[floor]))
            parts.append(text(x + width / 2, top + 22, who, bold=True, size=15))
            for line, words in enumerate(wrapped(what, 26)):
                parts.append(text(x + width / 2, top + 41 + 15 * line, words))
            parts.append(text(x + width / 2, top + height - 10, out, italic=True))
            if i:
                parts.append(arrow(x - gap + 2, top + height / 2, x - 3, top + height / 2))
        top += height + 44
    return svg(parts, top - 28)


def wrapped(words: str, width: int) -> list[str]:
    """The words in lines of up to ``width`` characters."""
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) + 1 > width and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def svg(parts: list[str], height: float) -> str:
    size = f'viewBox="0 0 {WIDTH} {height:g}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
    marker = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#555"/></marker></defs>'
    )
    return (
        "\n".join([head, marker, f'<rect width="{WIDTH}" height="{height:g}" fill="white"/>', *parts, "</svg>"]) + "\n"
    )


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="6" fill="{fill}" stroke="#777"/>'
    )


def arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#555" marker-end="url(#tip)"/>'


def text(
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "middle",
    bold: bool = False,
    italic: bool = False,
    size: int = 12,
    turned: bool = False,
) -> str:
    style = ' font-weight="bold"' * bold + ' font-style="italic" fill="#444"' * italic
    turn = f' transform="rotate(90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{style}{turn}>{escape(words)}</text>'
    )


if __name__ == "__main__":
    sys.exit(main())
