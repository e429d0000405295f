"""Draws docs/figures/data_format.svg from a dataset that the code has just written.

Usage: python tools/docs/data_format_figure.py [--check]
"""

from __future__ import annotations

import argparse
import struct
import sys
import tempfile
from pathlib import Path

from steel_megatron.tokens.indexed import IndexedWriter

FIGURE = Path(__file__).resolve().parents[2] / "docs" / "figures" / "data_format.svg"
DOCUMENTS = [[[11, 12, 13], [14]], [], [[15, 16]]]  # of sequences of ids
COLOURS = ["#4c78a8", "#54a24b", "#f58518"]
WIDTH, HEIGHT, LEFT, UNIT = 890, 384, 100, 84
FIELDS = [("magic", "9s"), ("version", "<Q"), ("dtype", "<B"), ("sequences", "<Q"), ("boundaries", "<Q")]


def main() -> int:
    """Writes the figure, or with ``--check`` says whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit status 1 when the figure is stale")
    drawn = figure(*written())
    if parser.parse_args().check:
        return int(not FIGURE.is_file() or FIGURE.read_text(encoding="utf-8") != drawn)
    FIGURE.write_text(drawn, encoding="utf-8")
    return 0


def written() -> tuple[bytes, bytes]:
    """What .bin and .idx of the documents hold."""
    with tempfile.TemporaryDirectory() as folder:
        with IndexedWriter(f"{folder}/data", "uint16") as writer:
            for document in DOCUMENTS:
                writer.add_document(document)
        return Path(f"{folder}/data.bin").read_bytes(), Path(f"{folder}/data.idx").read_bytes()


def figure(tokens: bytes, index: bytes) -> str:
    """The whole figure as SVG."""
    sequences, boundaries = struct.unpack_from("<QQ", index, 18)
    starts = [
        LEFT + UNIT * (pointer // 2) for pointer in struct.unpack_from(f"<{sequences}q", index, 34 + 4 * sequences)
    ]
    ends = [*starts[1:], LEFT + UNIT * (len(tokens) // 2)]
    lengths_at, pointers_at, boundaries_at = 34, 34 + 4 * sequences, 34 + 12 * sequences
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#666"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *bin_row(tokens, starts, ends),
        *header_row(index, top=36),
        text(LEFT - 10, 146, ".idx, arrays", anchor="end", bold=True),
    ]
    x, sequence = LEFT, 0
    for name, at, kind, count in (
        ("length, int32 tokens", lengths_at, "i", sequences),
        ("pointer, int64 bytes", pointers_at, "q", sequences),
        ("document begins at sequence, int64", boundaries_at, "q", boundaries),
    ):
        size = struct.calcsize(f"<{kind}")
        parts.append(text(x, 118, name, anchor="start"))
        for sequence in range(count):
            place = x + 64 * sequence
            (value,) = struct.unpack_from(f"<{kind}", index, at + size * sequence)
            parts += cell(place, 126, 62, str(value), f"byte {at + size * sequence}")
            if kind == "q" and count == sequences:
                parts.append(arrow(place + 31, 176, starts[sequence] + 4, 237))
        x += 64 * count + 28
    return "\n".join([*parts, "</svg>"]) + "\n"


def bin_row(tokens: bytes, starts: list[int], ends: list[int]) -> list[str]:
    """The tokens, the sequences below them and the documents below those."""
    parts = [text(LEFT - 10, 260, ".bin", anchor="end", bold=True)]
    sequence = 0
    for number, (document, colour) in enumerate(zip(DOCUMENTS, COLOURS, strict=True)):
        if not document:
            x = ends[sequence - 1]
            parts.append(f'<line x1="{x}" y1="240" x2="{x}" y2="354" stroke="{colour}" stroke-width="3"/>')
            parts.append(text(x, 370, f"document {number}: empty", fill=colour))
            continue
        last = sequence + len(document) - 1
        parts.append(bar(starts[sequence], ends[last], 332, colour, f"document {number}"))
        for _ in document:
            parts.append(bar(starts[sequence], ends[sequence], 310, "#888", f"sequence {sequence}"))
            sequence += 1
    for place in range(0, len(tokens), 2):
        (value,) = struct.unpack_from("<H", tokens, place)
        parts += cell(LEFT + UNIT * (place // 2), 240, UNIT - 2, str(value), tokens[place : place + 2].hex(" "))
    return parts


def header_row(index: bytes, top: int) -> list[str]:
    """The fields before the arrays."""
    parts = [text(LEFT - 10, top + 20, ".idx, head", anchor="end", bold=True)]
    x, at = LEFT, 0
    for name, kind in FIELDS:
        (value,) = struct.unpack_from(kind, index, at)
        shown = r"MMIDIDX\0\0" if name == "magic" else str(value)
        parts.append(text(x, top - 8, name, anchor="start"))
        parts += cell(x, top, 118, shown, f"byte {at}, {struct.calcsize(kind)} long")
        x += 146
        at += struct.calcsize(kind)
    return parts


def cell(x: float, y: float, width: float, value: str, below: str) -> list[str]:
    """A value in a box and a remark under it."""
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="30" rx="3" fill="#eef2f7" stroke="#8fa3bf"/>',
        text(x + width / 2, y + 20, value, bold=True),
        text(x + width / 2, y + 43, below, fill="#666", size=10),
    ]


def bar(start: float, end: float, y: float, colour: str, words: str) -> str:
    """A labelled strip over a range of tokens."""
    return (
        f'<rect x="{start:g}" y="{y - 10:g}" width="{end - start - 2:g}" height="18" rx="3" fill="{colour}"/>'
        + text((start + end) / 2, y + 3, words, fill="white", size=11)
    )


def arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" stroke="#999" marker-end="url(#head)"/>'


def text(
    x: float, y: float, words: str, anchor: str = "middle", fill: str = "black", bold: bool = False, size: int = 12
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{fill}"{weight}>{words}</text>'


if __name__ == "__main__":
    sys.exit(main())
