"""Leaves out exact and near duplicates within and across sources, and documents that hold items of evaluation sets."""

from __future__ import annotations

import argparse
from typing import get_args

from steel_megatron.cli.messages import show_messages
from steel_megatron.cli.shared_flags import add_engine, add_skip_damaged, add_strict, tell_suspects
from steel_megatron.config import POSITIVE, PROCESSES, Amount, add_number, at_least, share
from steel_megatron.corpus.dedup import Against, DedupSettings, SourceInput, deduplicate
from steel_megatron.jobs.sizes import parse_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel dedup``."""
    default = DedupSettings()
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help='JSON lines of {"text", "source", "id"}: a file, folder or glob pattern and the name of its source; also '
        "packed. A name may be given more than once.",
    )
    parser.add_argument(
        "--priority",
        default="",
        metavar="A,B,C",
        help="Names of inputs, best first: of equal documents that of the first is kept (default: order of --input).",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="Gets NAME/FILE.jsonl.zst for each input file, duplicates.jsonl.zst and report.json.",
    )
    add_number(parser, "--workers", PROCESSES, "Processes at once.", default=1)
    parser.add_argument(
        "--memory",
        type=Amount("--memory", parse_size, POSITIVE),
        default="4G",
        metavar="SIZE",
        help="What all workers of a machine may take together (above 0; default: 4G).",
    )
    parser.add_argument(
        "--signatures",
        metavar="DIR",
        help="Keep the signatures of this run in DIR, and compare with those of the runs before that are there: of "
        "equal documents theirs are kept.",
    )
    add_engine(parser)
    add_number(
        parser,
        "--threshold",
        at_least(0.5, most=1),
        "Least estimated Jaccard similarity of near duplicates.",
        kind=float,
        default=default.threshold,
        metavar="SIMILARITY",
    )
    parser.add_argument(
        "--against",
        choices=get_args(Against),
        default=default.against,
        help="What a near duplicate must be near to: a document that is kept, or any of its group, so that chains of "
        "near duplicates fall together (default: kept).",
    )
    parser.add_argument("--exact-only", action="store_true", help="Do not look for near duplicates.")
    parser.add_argument(
        "--decontaminate",
        nargs="+",
        default=[],
        metavar="NAME=FILE",
        help="Evaluation sets: csv files of C-Eval, CMMLU or MMLU, or JSON lines; a file, folder or glob pattern.",
    )
    add_number(
        parser,
        "--contamination-share",
        share(zero=False),
        "Part of an item's n-grams that makes a document contaminated.",
        kind=float,
        default=default.overlap_share,
        metavar="SHARE",
    )
    add_strict(parser)
    add_skip_damaged(parser)
    parser.add_argument("--overwrite", action="store_true", help="Replace what another run left in the output folder.")


def run(args: argparse.Namespace) -> int:
    """Deduplicates and prints the counts; 1 with ``--strict`` when a record could not be read, else 0."""
    show_messages()
    done = deduplicate(
        [SourceInput.parse(given, "--input") for given in args.input],
        args.output,
        priority=[name for name in args.priority.split(",") if name],
        settings=DedupSettings(
            threshold=args.threshold,
            against=args.against,
            exact_only=args.exact_only,
            overlap_share=args.contamination_share,
        ),
        evaluation_sets=[SourceInput.parse(given, "--decontaminate") for given in args.decontaminate],
        workers=args.workers,
        memory=args.memory,
        engine=args.engine,
        overwrite=args.overwrite,
        signatures=args.signatures,
        skip_damaged=args.skip_damaged,
    )
    if done.done_before:
        print("nothing to do: the same run is there already, of the same files and settings")
    width = max(map(len, done.report["sources"]), default=0)
    for name, counts in done.report["sources"].items():
        fallen = ", ".join(f"{counts[key]:,} {key}" for key in ("exact", "near", "contaminated", "invalid"))
        print(f"{name:<{width}}  {counts['kept']:,} of {counts['records']:,} records kept; {fallen}")
    if not done.report["evaluation_sets"]:
        print("no evaluation set was given: documents that hold its questions stay (--decontaminate)")
    for name, counts in done.report["evaluation_sets"].items():
        print(
            f"{name}: {counts['documents']:,} documents hold one of its {counts['questions']:,} questions "
            f"({counts['too_short']:,} are too short to be looked for)"
        )
    # Which versions before did not note.
    suspects, damaged = done.report.get("suspects", {}), done.report.get("damaged", {})
    tell_suspects(suspects, damaged)
    print(f"see {done.output}/report.json and duplicates.jsonl.zst")
    unread = any(counts["invalid"] for counts in done.report["sources"].values())
    return 1 if args.strict and (unread or suspects or damaged) else 0
