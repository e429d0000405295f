"""Draws docs/figures/mixture.svg: the run of docs/mixing.md as ``steel mix plan --figure`` draws it, without its data.

Usage: python tools/docs/mixture_figure.py [--check]
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from steel_megatron.reports.mix_figure import draw_mixture
from steel_megatron.samples.mixing.phase_drafts import resolve_phases
from steel_megatron.samples.mixing.phases_file import parse_phases
from steel_megatron.samples.mixing.plan import plan_mixture, plan_text
from steel_megatron.samples.order import Order

DOCS = Path(__file__).resolve().parents[2] / "docs"
SEQ_LENGTH = 2048
TOTAL_SAMPLES = 488_281_250  # 1 T tokens
TOKENS = {"web": 640e9, "code": 180e9, "wiki": 9e9, "math": 25e9}
BATCH = 2048  # samples of a step


def main() -> int:
    """Draws the figure and prints the plan, or with ``--check`` says whether the page has this plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit status 1 when the page is stale")
    check = parser.parse_args().check
    page = (DOCS / "mixing.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```yaml\n(- until_tokens.*?)```", page, re.DOTALL)
    drafts, _ = parse_phases(text, Path("phases.yaml"), SEQ_LENGTH)
    windows = {name: int(tokens) // SEQ_LENGTH for name, tokens in TOKENS.items()}
    order = Order(1234, resolve_phases(drafts, windows, SEQ_LENGTH, TOTAL_SAMPLES), windows)
    plan = plan_mixture(order, SEQ_LENGTH, TOTAL_SAMPLES)
    printed = plan_text(plan, lambda sample: sample // BATCH)
    if check:
        return int(printed not in page)
    draw_mixture(plan, DOCS / "figures" / "mixture.svg")
    print(printed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
