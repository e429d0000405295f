"""The flag that makes records and files which could not be read count in the exit status."""

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


def tell_suspects(suspects: Mapping[str, str]) -> None:
    """Prints the files that are not what their names say, and what they are."""
    for name, what in suspects.items():
        print(f"{name} {what}")
