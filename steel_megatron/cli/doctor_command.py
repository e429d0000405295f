"""What this machine has, which backends will be used, and what is amiss. Never fails because something is missing."""

from __future__ import annotations

import argparse
import dataclasses
import json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel doctor``."""
    parser.add_argument("--json", action="store_true", help="Print the facts and the advice as one JSON object.")


def run(args: argparse.Namespace) -> int:
    """Prints the report."""
    from steel_megatron.plan.doctor import advise, render
    from steel_megatron.plan.machine import describe_machine

    facts = describe_machine()
    if args.json:
        advice = [dataclasses.asdict(item) for item in advise(facts)]
        print(json.dumps({**facts, "advice": advice}, indent=2, default=str))
    else:
        print(render(facts))
    return 0
