"""Flags for what cannot be read: whether it counts in the exit status, and whether damaged files are read in part."""

from __future__ import annotations

import argparse
from collections.abc import Mapping


def add_strict(parser: argparse._ActionsContainer) -> None:
    """``--strict``."""
    parser.add_argument(
        "--strict",
        action="store_true",
        help="Exit status 1 when a record could not be read or a file is not what its name says.",
    )


def add_skip_damaged(parser: argparse._ActionsContainer) -> None:
    """``--skip-damaged``."""
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
