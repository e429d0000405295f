"""Draws docs/figures/pipeline_*.svg from the schedules themselves, so that the figures cannot lag behind them.

Usage: python tools/docs/pipeline_figures.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from steel_megatron.parallel.pipeline.passes import Costs
from steel_megatron.parallel.pipeline.schedules import build_schedule
from steel_megatron.parallel.pipeline.timeline import simulate
from steel_megatron.reports.schedule_figure import picture

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "figures"
RANKS, MICRO_BATCHES = 4, 8
SCALE = 30  # pixels per forward pass of a rank: the figures compare in length
CHUNKS = {"gpipe": 1, "1f1b": 1, "interleaved": 2}


def main() -> int:
    """Writes the figures, or with ``--check`` says whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit status 1 when a figure is stale")
    check = parser.parse_args().check
    for name, chunks in CHUNKS.items():
        schedule = build_schedule(name, RANKS, MICRO_BATCHES, chunks)
        timeline = simulate(schedule, Costs.uniform(schedule.stages, forward=1 / chunks, backward=2 / chunks))
        drawn = picture(timeline, SCALE).svg()
        path = FOLDER / f"pipeline_{name}.svg"
        if not check:
            path.write_text(drawn, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != drawn:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
