"""Leaves out lines or paragraphs that many documents of a source share, as the boilerplate of sites."""

from __future__ import annotations

import argparse
from typing import get_args

from steel_megatron.cli.messages import show_messages
from steel_megatron.cli.shared_flags import add_engine, add_strict, tell_suspects
from steel_megatron.config import POSITIVE, PROCESSES, Amount, add_number, at_least
from steel_megatron.corpus.dedup import SourceInput
from steel_megatron.corpus.repeated_lines import LineSettings, Unit, remove_lines
from steel_megatron.jobs.sizes import parse_size

SHOWN = 5
MOST_DOCUMENTS = 1_000_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel dedup-lines``."""
    default = LineSettings()
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help='JSON lines of {"text", …}: a file, folder or glob pattern and the name of its source, within which lines '
        "are counted; also packed. A name may be given more than once.",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="Gets NAME/FILE.jsonl.zst for each input file, and report.json with the most frequent lines.",
    )
    add_number(
        parser,
        "--in-documents",
        at_least(2, most=MOST_DOCUMENTS),
        "A line that as many documents of a source have is left out of all of them.",
        default=default.in_documents,
    )
    add_number(parser, "--shortest", at_least(1), "Characters of the shortest that counts.", default=default.shortest)
    parser.add_argument(
        "--unit",
        choices=get_args(Unit),
        default=default.unit,
        help="What is counted: lines, or paragraphs between blank lines (default: line).",
    )
    add_number(parser, "--workers", PROCESSES, "Processes at once.", default=1)
    parser.add_argument(
        "--memory",
        type=Amount("--memory", parse_size, POSITIVE),
        default="4G",
        metavar="SIZE",
        help="What all workers of a machine may take together (above 0; default: 4G).",
    )
    add_engine(parser)
    add_strict(parser)
    parser.add_argument("--overwrite", action="store_true", help="Replace what another run left in the output folder.")


def run(args: argparse.Namespace) -> int:
    """Removes the lines and prints the counts; 1 with ``--strict`` when a record could not be read, else 0."""
    show_messages()
    done = remove_lines(
        [SourceInput.parse(given, "--input") for given in args.input],
        args.output,
        settings=LineSettings(args.in_documents, args.shortest, args.unit),
        workers=args.workers,
        memory=args.memory,
        engine=args.engine,
        overwrite=args.overwrite,
    )
    if done.done_before:
        print("nothing to do: the same run is there already, of the same files and settings")
    for name, counts in done.report["sources"].items():
        print(
            f"{name}  {counts['kept']:,} of {counts['records']:,} records kept, {counts['changed']:,} of them without "
            f"{counts['lines']:,} lines; {counts['emptied']:,} had no other lines, {counts['invalid']:,} invalid"
        )
    for line in done.report["most_frequent"][:SHOWN]:
        print(f"{line['documents']:>10,} documents of {line['source']}: {line['line'][:80]}")
    suspects = done.report.get("suspects", {})
    tell_suspects(suspects, {})
    print(f"see {done.output}/report.json")
    unread = any(counts["invalid"] for counts in done.report["sources"].values())
    return 1 if args.strict and (unread or suspects) else 0
