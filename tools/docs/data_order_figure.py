"""Draws docs/figures/data_order.svg from the code that orders the data, so that the figure cannot lag behind it.

Usage: python tools/docs/data_order_figure.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from steel_megatron.samples.mixing.mixture import ONE, Mixture, Node
from steel_megatron.samples.mixing.phases import Phase
from steel_megatron.samples.order import Order

FIGURE = Path(__file__).resolve().parents[2] / "docs" / "figures" / "data_order.svg"
PHASES = [Phase.of(0, {"web": 5, "code": 3, "wiki": 2}), Phase.of(20, {"web": 4, "code": 3, "math": 3})]
WINDOWS = {"web": 7, "code": 4, "wiki": 3, "math": 5}
COLOURS = {"web": "#4c78a8", "code": "#f58518", "wiki": "#54a24b", "math": "#b279a2"}
SAMPLES = 32
WIDTH, LEFT, BOX = 980, 110, 26


def main() -> int:
    """Writes the figure, or with ``--check`` says whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit status 1 when the figure is stale")
    drawn = figure()
    if parser.parse_args().check:
        return int(not FIGURE.is_file() or FIGURE.read_text(encoding="utf-8") != drawn)
    FIGURE.parent.mkdir(exist_ok=True)
    FIGURE.write_text(drawn, encoding="utf-8")
    return 0


def figure() -> str:
    """The whole figure as SVG."""
    order = Order(1234, PHASES, WINDOWS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 478" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="478" fill="white"/>',
        *trees(),
        *strip(order, top=190),
        *deviations(order, top=330),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def trees() -> list[str]:
    """The tree of each phase's mixture, with the share that each node hands to its children."""
    parts = []
    for phase, middle in zip(PHASES, (LEFT + 9 * BOX, LEFT + 25 * BOX), strict=True):
        mixture = Mixture(phase.shares)
        shares = ", ".join(f"{name} {float(share):.0%}" for name, share in phase.shares.items())
        parts.append(text(middle, 20, f"phase from sample {phase.start}: {shares}", bold=True))
        parts += subtree(mixture.root, mixture.names, middle, 48, 110)
    return parts


def subtree(node: Node | int, names: list[str], x: float, y: float, spread: float) -> list[str]:
    """A node and what is below it."""
    if isinstance(node, int):
        name = names[node]
        return [box(x - 28, y - 12, 56, 22, COLOURS[name]), text(x, y + 4, name, fill="white")]
    parts = []
    left = node.left_share / ONE
    for child, share, to in ((node.left, left, x - spread), (node.right, 1 - left, x + spread)):
        parts.append(f'<line x1="{x:g}" y1="{y:g}" x2="{to:g}" y2="{y + 46:g}" stroke="#999"/>')
        parts.append(text((x + to) / 2 + (12 if to > x else -12), y + 18, f"{share:.3g}"))
        parts += subtree(child, names, to, y + 46, spread * 0.6)
    return [*parts, f'<circle cx="{x:g}" cy="{y:g}" r="5" fill="#666"/>']


def strip(order: Order, top: int) -> list[str]:
    """The samples in order: colour is the source, the numbers are the window and the epoch."""
    parts = [text(LEFT - 10, top + 4, "sample", anchor="end"), text(LEFT - 10, top + 31, "window", anchor="end")]
    parts.append(text(LEFT - 10, top + 55, "epoch", anchor="end"))
    for sample in range(SAMPLES):
        place, x = order.at(sample), LEFT + sample * BOX
        parts.append(text(x + BOX / 2, top + 4, str(sample), fill="#666"))
        parts.append(box(x + 1, top + 14, BOX - 2, 26, COLOURS[place.source]))
        parts.append(text(x + BOX / 2, top + 31, str(place.window), fill="white"))
        parts.append(text(x + BOX / 2, top + 55, str(place.epoch), fill=COLOURS[place.source]))
    for number, (name, colour) in enumerate(COLOURS.items()):
        x = LEFT + number * 150
        parts.append(box(x, top + 76, 14, 14, colour))
        parts.append(text(x + 20, top + 88, f"{name}: {WINDOWS[name]} windows", anchor="start"))
    boundary = LEFT + PHASES[1].start * BOX
    parts.append(f'<line x1="{boundary}" y1="{top - 12}" x2="{boundary}" y2="{top + 64}" stroke="black"/>')
    return parts


def deviations(order: Order, top: int) -> list[str]:
    """Samples of each source so far, minus its weights' share: the lines stay near 0."""
    scale, zero = 28, top + 64
    parts = [text(LEFT, top - 10, "samples of a source so far, minus its share", anchor="start", bold=True)]
    for level in (-2, -1, 0, 1, 2):
        y = zero - level * scale
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{LEFT + SAMPLES * BOX}" y2="{y}" stroke="#ddd"/>')
        parts.append(text(LEFT - 10, y + 4, str(level), anchor="end", fill="#666"))
    for name, colour in COLOURS.items():
        points, ideal = [], 0.0
        for sample in range(SAMPLES + 1):
            points.append(f"{LEFT + sample * BOX:g},{zero - (order.counts(sample)[name] - ideal) * scale:.4g}")
            ideal += float(PHASES[sample >= PHASES[1].start].shares.get(name, 0))
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return parts


def text(x: float, y: float, words: str, anchor: str = "middle", fill: str = "black", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}"{weight}>{words}</text>'


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="3" fill="{fill}"/>'


if __name__ == "__main__":
    sys.exit(main())
