"""The mixture of a run: what it comes to before it starts, and a further phase while it runs."""

from __future__ import annotations

import argparse

from steel_megatron.config import AMOUNT, COUNT, add_number, add_run_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel mix plan`` and ``steel mix add``."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="plan|add")
    plan = actions.add_parser("plan", help="tokens and epochs of each source over a run")
    plan.add_argument("--run", metavar="DIR", help="Folder of a run (its --save) instead of a configuration.")
    plan.add_argument("--figure", metavar="FILE", help="Draw the mixture over the run (.svg, .png or .pdf).")
    plan.add_argument("--json", action="store_true", help="Print one JSON object.")
    add_run_flags(plan)
    add = actions.add_parser("add", help="append a phase to the phases file of a run, for its next restart")
    add.add_argument("run", metavar="DIR", help="Folder of the run: its --save.")
    start = add.add_mutually_exclusive_group(required=True)
    add_number(start, "--from", AMOUNT, "First sample of the phase.", dest="from_")
    add_number(start, "--from-tokens", AMOUNT, "Or the token of the run it begins at.")
    ramp = add.add_mutually_exclusive_group()
    add_number(ramp, "--ramp", COUNT, "Samples over which the shares move to the new ones.")
    add_number(ramp, "--ramp-tokens", COUNT, "Or the tokens of that.")
    kinds = {"weight": "weights", "epochs": "epochs to read in this phase", "tokens": "tokens to read in this phase"}
    for kind, text in kinds.items():
        add.add_argument(f"--{kind}", nargs="+", default=[], metavar="NAME=N", help=f"Sources and their {text}.")
    add_number(add, "--until", COUNT, "Sample by which epochs and tokens are read.")
    add.add_argument("--path", nargs="+", default=[], metavar="NAME=PREFIX", help="Datasets of sources that are new.")
    add.add_argument("--dry-run", action="store_true", help="Check and print, and leave the file as it is.")


def run(args: argparse.Namespace) -> int:
    """Calls the action."""
    from steel_megatron.cli.mix_actions import add_phase, show_plan

    return show_plan(args) if args.action == "plan" else add_phase(args)
