"""What ``steel clean --calibrate`` prints."""

from __future__ import annotations

import numpy as np

from steel_megatron.corpus.cleaning.calibrate import ALL, QUANTILES, Calibration, Measured


def calibration_table(found: Calibration) -> str:
    """A line per filter: quantiles of what it measures, its limits and what they drop, and the limits proposed."""
    width = max((len(each.name) for each in found.measured), default=0)
    heads = [f"{100 * quantile:g}%" for quantile in QUANTILES]
    lines = ["  ".join([f"{'filter':<{width}}", *(f"{head:>8}" for head in heads), "limits (drop) → proposed (drop)"])]
    for each in found.measured:
        quantiles = (f"{value:>8.4g}" for value in np.quantile(each.values, QUANTILES))
        now = f"{_limits(each, each.limits)} ({_percent(each.dropped)})"
        then = f"{_limits(each, each.proposed)} ({_percent(each.dropped_then)})"
        lines.append("  ".join([f"{each.name:<{width}}", *quantiles, f"{now} → {then}"]))
    now_kept, then_kept = found.kept(), found.kept(proposed=True)
    for source, (kept, all_of) in now_kept.items():
        told = source if source == ALL else f"source {source or 'not said'}"
        lines.append(f"{told}: {kept:,} of {all_of:,} kept; by the proposed limits {then_kept[source][0]:,}")
    if found.unread:
        lines.append(f"{found.unread:,} records gave no text")
    return "\n".join(lines)


def _limits(each: Measured, limits: tuple[float | None, float | None]) -> str:
    said = [f"{name} {limit:g}" for name, limit in zip(each.names, limits, strict=True) if limit is not None]
    return ", ".join(said) or "none"


def _percent(dropped: np.ndarray) -> str:
    return f"{100 * float(dropped.mean()):.1f}%"
