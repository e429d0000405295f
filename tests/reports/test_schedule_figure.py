"""Drawn schedules."""

from __future__ import annotations

import itertools
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.parallel.pipeline.actions import Kind
from steel_megatron.parallel.pipeline.passes import Costs
from steel_megatron.parallel.pipeline.schedules import build_schedule
from steel_megatron.parallel.pipeline.timeline import Timeline, simulate
from steel_megatron.reports.drawing import Drawing, Label
from steel_megatron.reports.schedule_figure import picture, shade

ROOT = Path(__file__).resolve().parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def draw_schedule(
    name: str, ranks: int, micro_batches: int, chunks: int, path: Path, costs: Costs | None = None
) -> Timeline:
    timeline = simulate(build_schedule(name, ranks, micro_batches, chunks), costs or Costs.uniform(ranks * chunks))
    picture(timeline).save(path)
    return timeline


def test_every_pass_is_a_box_that_lies_where_it_runs(tmp_path):
    timeline = draw_schedule("interleaved", 3, 6, 2, tmp_path / "deep" / "schedule.svg")
    root = xml.etree.ElementTree.parse(tmp_path / "deep" / "schedule.svg").getroot()
    boxes = [box for box in root.iter(f"{SVG}rect") if box.get("stroke") == "white"]
    assert len(boxes) == 3 * 6 * 2 * 2
    by_row: dict[str, list[tuple[float, float]]] = {}
    for box in boxes:
        by_row.setdefault(box.get("y", ""), []).append((float(box.get("x", 0)), float(box.get("width", 0))))
    assert len(by_row) == 3
    for row in by_row.values():
        row.sort()
        assert all(x + width <= after + 0.05 for (x, width), (after, _) in itertools.pairwise(row))
    words = [text.text for text in root.iter(f"{SVG}text")]
    assert f"interleaved: 3 ranks × 2 chunks, 6 micro-batches, bubble {timeline.bubble:.1%}" in words
    assert {"forward by chunk", "backward by chunk", "rank 2", "keeps"} <= set(words)


def test_given_costs_are_drawn(tmp_path):
    timeline = draw_schedule("1f1b", 2, 4, 1, tmp_path / "a.svg", Costs((1, 3), (2, 6), (0, 0)))
    assert timeline.busy(1) == 3 * timeline.busy(0)


def test_png(tmp_path):
    pytest.importorskip("matplotlib")
    draw_schedule("gpipe", 2, 3, 1, tmp_path / "schedule.png")
    assert (tmp_path / "schedule.png").read_bytes().startswith(b"\x89PNG")


def test_png_without_matplotlib_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install matplotlib, or name it \.svg"):
        draw_schedule("gpipe", 2, 3, 1, tmp_path / "schedule.png")


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in .svg or .png"):
        draw_schedule("gpipe", 2, 3, 1, tmp_path / "schedule.pdf")


def test_words_are_escaped():
    drawing = Drawing(10, 10, labels=[Label(0, 0, "p < q & r")])
    assert "p &lt; q &amp; r" in drawing.svg()


def test_chunks_go_from_dark_to_light():
    assert [shade(Kind.FORWARD, chunk, 3) for chunk in range(3)] == ["#3b6fb6", "#6594cf", "#8fb8e8"]
    assert shade(Kind.BACKWARD, 0, 1) == "#c8702a"


def test_the_figures_are_drawn_from_the_code():
    tool = ROOT / "tools" / "docs" / "pipeline_figures.py"
    assert subprocess.run([sys.executable, str(tool), "--check"], check=False, cwd=ROOT).returncode == 0
