"""Pictures of rectangles and words, as SVG or PNG."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from steel_megatron.config import ConfigError


@dataclass(frozen=True)
class Box:
    """A rectangle; pixels, y downwards."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    border: str = "none"


@dataclass(frozen=True)
class Label:
    """Words at a point of their baseline: its start, middle or end."""

    x: float
    y: float
    text: str
    size: float = 12
    anchor: str = "start"
    colour: str = "black"


@dataclass
class Drawing:
    """Boxes below, labels above."""

    width: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)

    def save(self, path: str | Path) -> None:
        """Writes ``.svg`` or ``.png`` (with matplotlib), by the name.

        Raises:
            ConfigError: another ending, or matplotlib is missing.
        """
        path = Path(path)
        if path.suffix not in (".svg", ".png"):
            raise ConfigError(f"a drawing in {path}", rule="its name ends in .svg or .png")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".svg":
            path.write_text(self.svg(), encoding="utf-8")
        else:
            self._save_png(path)

    def svg(self) -> str:
        """The picture as text."""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">']
        for box in [Box(0, 0, self.width, self.height, "white"), *self.boxes]:
            place = (
                f'x="{_number(box.x)}" y="{_number(box.y)}" width="{_number(box.width)}" height="{_number(box.height)}"'
            )
            border = f' stroke="{box.border}"' * (box.border != "none")
            lines.append(f'<rect {place} fill="{box.colour}"{border}/>')
        for label in self.labels:
            place = f'x="{_number(label.x)}" y="{_number(label.y)}" font-size="{label.size:g}"'
            anchor = f' text-anchor="{label.anchor}"' * (label.anchor != "start")
            colour = f' fill="{label.colour}"' * (label.colour != "black")
            lines.append(f"<text {place}{anchor}{colour}>{escape(label.text)}</text>")
        return "\n".join([*lines, "</svg>"]) + "\n"

    def _save_png(self, path: Path) -> None:
        try:
            from matplotlib.figure import Figure
            from matplotlib.patches import Rectangle
        except ImportError:
            raise ConfigError(
                f"a drawing in {path}", rule="PNG needs matplotlib", fix="pip install matplotlib, or name it .svg"
            ) from None
        points = 72 / 100  # per pixel
        figure = Figure(figsize=(self.width / 100, self.height / 100), dpi=200)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, self.width)
        axes.set_ylim(self.height, 0)
        axes.axis("off")
        for box in self.boxes:
            place, size = (box.x, box.y), (box.width, box.height)
            axes.add_patch(Rectangle(place, *size, facecolor=box.colour, edgecolor=box.border, linewidth=points))
        align = {"start": "left", "middle": "center", "end": "right"}
        for label in self.labels:
            axes.text(
                label.x, label.y, label.text, fontsize=label.size * points, ha=align[label.anchor], color=label.colour
            )
        figure.savefig(path)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
