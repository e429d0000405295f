"""Samples that a run leaves out: those asked for now, and those that its checkpoint has on record."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

from steel_megatron.config import DataConfig
from steel_megatron.config.sample_ranges import Ranges, joined, parse_ranges, written
from steel_megatron.samples.skips import Skips

log = logging.getLogger(__name__)


def take_up_skips(data: DataConfig, facts: dict[str, Any] | None) -> tuple[DataConfig, int]:
    """Adds the ranges of a checkpoint to ``--skip-samples``, so that the run and its next checkpoints have all.

    What the run has used cannot be left out any more: such samples are taken from the ranges, with a warning, so that
    the record says what was really left out.

    Args:
        facts: of the checkpoint that is continued; None for a run that starts.

    Returns:
        The section with all ranges, and where in the order the run goes on.
    """
    asked = parse_ranges(data.skip_samples)
    if facts is None:
        return replace(data, skip_samples=tuple(written(asked))), 0
    recorded = recorded_ranges(facts)
    used = Skips(recorded).frontier(int(facts["state"]["consumed_samples"]))
    late = [bounds for bounds in asked if _part_used(bounds, recorded, used)]
    to_come = [(max(first, used), last) for first, last in asked if last > used]
    data = replace(data, skip_samples=tuple(written(joined([*recorded, *to_come]))))
    for first, last in late:
        log.warning(
            "--skip-samples %d:%d: samples before %s are used already and are not left out; a checkpoint of an earlier "
            "step can do so (--ckpt-step)",
            first,
            last,
            f"{min(used, last):,}",
        )
    if kept := [word for word in written(recorded) if word not in written(asked)]:
        log.info("left out as in the checkpoint: samples %s", ", ".join(kept))
    return data, used


def recorded_ranges(facts: dict[str, Any]) -> Ranges:
    """What a checkpoint has on record; an earlier version's has nothing."""
    return parse_ranges(facts["config"].get("data", {}).get("skip_samples") or [])


def _part_used(bounds: tuple[int, int], recorded: Ranges, used: int) -> bool:
    """Whether the run has used a sample of the range: one before ``used`` that is not on record as left out."""
    first, last = bounds[0], min(bounds[1], used)
    for start, stop in recorded:
        if start <= first < stop:
            first = stop
    return first < last
