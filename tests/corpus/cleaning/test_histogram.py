"""A histogram as SVG: every bar inside the picture, and red outside the limits."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from steel_megatron.corpus.cleaning.histogram import HEIGHT, WIDTH, histogram_svg


def drawn(**statistic: Any) -> tuple[list[dict[str, str]], list[str]]:
    root = ET.fromstring(histogram_svg({"name": "a<b", "scale": "ratio", "low": None, "high": None, **statistic}))
    return [dict(bar.attrib) for bar in root.iter("rect")], [text.text or "" for text in root.iter("text")]


@pytest.mark.parametrize(
    ("low", "high", "outside"),
    [(None, None, [0, 0, 0]), (0.2, None, [1, 0, 0]), (None, 0.6, [0, 0, 1]), (0.21, 0.59, [1, 0, 1])],
)
def test_bars_outside_the_limits_are_red(low: float | None, high: float | None, outside: list[int]) -> None:
    bars, texts = drawn(low=low, high=high, histogram=[[0.0, 0.2, 5], [0.2, 0.6, 10], [0.6, 1.0, 1]])
    assert [bar["fill"] == "#c8553d" for bar in bars] == list(map(bool, outside))
    assert [float(bar["height"]) for bar in bars][1] == max(float(bar["height"]) for bar in bars)
    assert ("min 0.2" in texts, "max 0.6" in texts) == (low == 0.2, high == 0.6)


def test_counts_up_to_any_size_stay_inside() -> None:
    bars, texts = drawn(scale="count", low=10, high=1e7, histogram=[[0.0, 1.0, 1], [900.0, 1100.0, 7], [1e9, 2e9, 1]])
    assert all(float(bar["x"]) >= 0 and float(bar["x"]) + float(bar["width"]) <= WIDTH for bar in bars)
    assert all(float(bar["y"]) >= 0 and float(bar["y"]) + float(bar["height"]) <= HEIGHT for bar in bars)
    assert "1,000,000,000" in texts


def test_nothing_to_draw() -> None:
    assert histogram_svg({"histogram": []}) == "<p>No document came this far.</p>"
