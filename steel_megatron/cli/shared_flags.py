"""Flags that several commands have."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from steel_megatron.jobs.engine import ENGINES


def add_engine(parser: argparse._ActionsContainer, others: Mapping[str, str] | None = None) -> None:
    """``--engine``, which says who does the work.

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


def add_strict(parser: argparse._ActionsContainer) -> None:
    """``--strict``, which makes records and files that could not be read count in the exit status."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="Exit status 1 when a record could not be read or a file is not what its name says.",
    )


def add_skip_damaged(parser: argparse._ActionsContainer) -> None:
    """``--skip-damaged``, which takes what can be read of files that are damaged."""
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="Take what can be read of files that are cut or damaged, and count them, in the place of an error.",
    )


def tell_suspects(suspects: Mapping[str, str], damaged: Mapping[str, str]) -> None:
    """Prints the files that are not what their names say and those that are damaged, and what they are."""
    for name, what in suspects.items():
        print(f"{name} {what}")
    for name, what in damaged.items():
        print(f"{name} was read in part: {what}")
