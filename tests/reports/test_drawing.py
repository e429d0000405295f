"""Drawings: what is drawn is in the file, whatever its words hold."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.reports.drawing import Box, Drawing, Label

DRAWING = Drawing(
    40, 20, [Box(0.5, 1, 10.0, 2.256, "red", "black")], [Label(1, 2, "a<b & 中", anchor="end"), Label(0, 0, "c")]
)


def test_svg(tmp_path: Path) -> None:
    DRAWING.save(tmp_path / "new" / "a.svg")
    root = ET.parse(tmp_path / "new" / "a.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    background, box = root.iter(f"{space}rect")
    assert (background.get("width"), background.get("fill")) == ("40", "white")
    assert (box.get("x"), box.get("width"), box.get("height"), box.get("stroke")) == ("0.5", "10", "2.26", "black")
    first, second = root.iter(f"{space}text")
    assert (first.text, first.get("text-anchor")) == ("a<b & 中", "end")
    assert second.get("text-anchor") is None


def test_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    DRAWING.save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert [int.from_bytes(content[at : at + 4], "big") for at in (16, 20)] == [80, 40]  # two points a pixel


def test_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.svg or \.png"):
        DRAWING.save(tmp_path / "new" / "a.gif")
    assert list(tmp_path.iterdir()) == []
