"""The flag that says who does the work of a command."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from steel_megatron.jobs.engine import ENGINES


def add_engine(parser: argparse._ActionsContainer, others: Mapping[str, str] | None = None) -> None:
    """``--engine``.

    Args:
        others: engines that this command has beside those of all, and what they are.
    """
    more = "".join(f"; {name}: {what}" for name, what in (others or {}).items())
    parser.add_argument(
        "--engine",
        choices=[*ENGINES, *(others or {})],
        default=ENGINES[0],
        help=f"local: processes of this machine; ray: Ray tasks, of machines that see the same files{more} "
        f"(default: {ENGINES[0]}).",
    )
