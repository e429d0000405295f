"""What this machine has, which backends will be used, and what is amiss. Never fails because something is missing."""

from __future__ import annotations

import argparse
import dataclasses
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel doctor``."""
    parser.add_argument("--json", action="store_true", help="Print the facts and the advice as one JSON object.")
    parser.add_argument(
        "--measure",
        nargs="?",
        const="",
        metavar="PRESET",
        help="Time every implementation of each operation that is here, with the shapes of a preset (default: "
        "tinyllama_1.1b on a GPU, demo on a CPU); --kernel-backend auto and --attention-backend auto then take the "
        "fastest.",
    )


def run(args: argparse.Namespace) -> int:
    """Prints the report."""
    if args.measure is not None:
        from steel_megatron.plan.measure import measure_here

        print(measure_here(args.measure or None))
        return 0
    from steel_megatron.plan.doctor import advise, render
    from steel_megatron.plan.machine import describe_machine

    facts = describe_machine()
    if args.json:
        advice = [dataclasses.asdict(item) for item in advise(facts)]
        print(json.dumps({**facts, "advice": advice}, indent=2, default=str))
    else:
        print(render(facts))
    return 0
