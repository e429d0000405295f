"""A histogram with its thresholds as inline SVG."""

from __future__ import annotations

import math
from html import escape
from typing import Any

WIDTH, HEIGHT, MARGIN = 720, 170, 34


def histogram_svg(statistic: dict[str, Any]) -> str:
    """Bars of the documents per bin, those outside the limits red, and a line at each limit.

    Args:
        statistic: ``name``, ``scale``, ``low``, ``high`` and ``histogram`` as ``[[low edge, high edge, count], ...]``.
    """
    bars = statistic["histogram"]
    if not bars:
        return "<p>No document came this far.</p>"
    ratio = statistic["scale"] == "ratio"
    last = 1.0 if ratio else max(math.log10(max(high for _, high, _ in bars)), 1.0)
    highest = max(count for _, _, count in bars)

    def across(value: float) -> float:
        place = value if ratio else math.log10(max(value, 1.0))
        return MARGIN + (WIDTH - 2 * MARGIN) * min(max(place / last, 0.0), 1.0)

    low, high = statistic["low"], statistic["high"]
    drawn = []
    for left, right, count in bars:
        outside = (low is not None and right <= low) or (high is not None and left >= high)
        tall = max((HEIGHT - 2 * MARGIN) * count / highest, 1.0)
        x, width = across(left), max(across(right) - across(left), 1.5)
        drawn.append(
            f'<rect x="{x:.1f}" y="{HEIGHT - MARGIN - tall:.1f}" width="{width:.1f}" height="{tall:.1f}" '
            f'fill="{"#c8553d" if outside else "#4a6fa5"}"><title>{left:.4g} to {right:.4g}: {count:,}</title></rect>'
        )
    for name, limit in (("min", low), ("max", high)):
        if limit is not None and (not ratio or 0 <= limit <= 1):
            x = across(limit)
            anchor = "end" if x > WIDTH / 2 else "start"
            drawn.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{MARGIN - 12}" y2="{HEIGHT - MARGIN}" stroke="#a33" '
                f'stroke-dasharray="4 3"/><text x="{x:.1f}" y="{MARGIN - 16}" text-anchor="{anchor}" fill="#a33">'
                f"{name} {limit:g}</text>"
            )
    steps = [0, 0.25, 0.5, 0.75, 1] if ratio else [10**power for power in range(int(last) + 1)]
    for step in steps:
        drawn.append(f'<text x="{across(step):.1f}" y="{HEIGHT - MARGIN + 16}" text-anchor="middle">{step:,}</text>')
    base = HEIGHT - MARGIN
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" font-size="12" role="img">'
        f"<title>{escape(statistic['name'])}, highest bar {highest:,} documents</title>{''.join(drawn)}"
        f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{base}" y2="{base}" stroke="#667"/></svg>'
    )
