"""Clean records by a data-juicer recipe: what is dropped is listed with its reason, and a report shows why."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steel_megatron.cli.messages import show_messages
from steel_megatron.cli.shared_flags import add_engine, add_skip_damaged, add_strict, tell_suspects
from steel_megatron.config import COUNT, PROCESSES, ConfigError, add_number, share
from steel_megatron.corpus.cleaning import (
    OPERATIONS,
    READ,
    Cleaned,
    Recipe,
    clean,
    drops_of,
    read_drops,
    read_recipe,
    run_data_juicer,
)
from steel_megatron.jobs.durable import whole


@dataclass
class TokenCounter:
    """Counts tokens of a text; each process builds its own tokenizer, when first needed."""

    type: str | None
    model: str
    _tokenizer: Any = field(default=None, repr=False)

    def __call__(self, text: str) -> int:
        if self._tokenizer is None:
            from steel_megatron.tokenizer.build import build_tokenizer

            self._tokenizer = build_tokenizer(self.type, self.model)
        return len(self._tokenizer.encode(text))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel clean``."""
    width = max(map(len, OPERATIONS))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    abouts = {name: OPERATIONS.load(name).about for name in sorted(OPERATIONS.shipped)}
    abouts |= {name: f"from {place}" for name, place in OPERATIONS.installed.items()}
    parser.epilog = "operations:\n" + "\n".join(f"  {name:<{width}}  {about}" for name, about in abouts.items())
    parser.add_argument("--recipe", metavar="YAML", help="A data-juicer recipe, such as recipes/zh_web.yaml.")
    parser.add_argument(
        "--input",
        nargs="+",
        help="Files, folders, glob patterns or URLs of JSON lines, also packed (default: the recipe's dataset_path).",
    )
    parser.add_argument(
        "--output",
        metavar="PLACE",
        help="FOLDER for shards of bounded size, FILE.jsonl or FILE.jsonl.zst (default: the recipe's export_path).",
    )
    add_number(parser, "--workers", PROCESSES, "Processes; the recipe's np, else 1, when not given.")
    parser.add_argument("--overwrite", action="store_true", help="Replace an output that is there.")
    parser.add_argument("--tokenizer-type", metavar="TYPE", help="Kind of tokenizer, where the files do not say it.")
    parser.add_argument("--tokenizer-model", metavar="PATH", help="Tokenizer that counts tokens for the report.")
    add_engine(parser, {"native": "as local", "data-juicer": "data-juicer itself, for recipes with other operations"})
    parser.add_argument(
        "--data-juicer",
        default="",
        metavar="DIR",
        help="What tools/preprocess/install_data_juicer.sh made.",
    )
    parser.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="Run data-juicer in its Ray mode: local starts one here, auto finds one.",
    )
    add_strict(parser)
    add_skip_damaged(parser)
    calibrating = parser.add_argument_group("limits that fit the corpus")
    calibrating.add_argument(
        "--calibrate",
        action="store_true",
        help="Clean nothing: measure a sample with the recipe's filters, print quantiles and what the limits drop, and "
        "propose limits; --output FILE.yaml gets the recipe with them.",
    )
    add_number(calibrating, "--records", COUNT, "With --calibrate: records drawn, at most.", default=10_000)
    add_number(
        calibrating,
        "--keep",
        share(zero=False),
        "With --calibrate: the share of the records that each proposed limit keeps.",
        kind=float,
        default=0.99,
        metavar="SHARE",
    )
    parser.add_argument("--list-drops", metavar="OUTPUT", help="Print the drops of an earlier run, one JSON per line.")
    parser.add_argument("--operation", metavar="NAME", help="With --list-drops: only what this operation dropped.")


def run(args: argparse.Namespace) -> int:
    """Cleans, or lists what was dropped; 1 with ``--strict`` when a record could not be read, else 0."""
    show_messages()
    if args.list_drops:
        for drop in read_drops(Path(args.list_drops), args.operation):
            print(json.dumps(drop, ensure_ascii=False))
        return 0
    if not args.recipe:
        raise ConfigError("no --recipe", fix="name a recipe, such as recipes/zh_web.yaml")
    recipe = read_recipe(args.recipe)
    inputs = args.input or ([recipe.dataset_path] if recipe.dataset_path else None)
    if args.calibrate:
        return _calibrate(args, recipe, inputs)
    output = args.output or recipe.export_path
    if not inputs or not output:
        raise ConfigError(
            "no --input" if not inputs else "no --output",
            rule="files are given by flags or by the recipe's dataset_path and export_path",
        )
    workers = recipe.workers if args.workers is None else args.workers
    if args.engine == "data-juicer":
        run_data_juicer(
            recipe,
            inputs,
            Path(output),
            environment=args.data_juicer,
            workers=workers,
            ray_address=args.ray_address,
            overwrite=args.overwrite,
        )
        print(f"{output}: written by data-juicer")
        return 0
    counter = TokenCounter(args.tokenizer_type, args.tokenizer_model) if args.tokenizer_model else None
    done = clean(
        recipe,
        inputs,
        output,
        workers=workers,
        engine="local" if args.engine == "native" else args.engine,
        overwrite=args.overwrite,
        skip_damaged=args.skip_damaged,
        tokenizer=f"{args.tokenizer_type or ''}:{args.tokenizer_model}" if counter else "",
        count_tokens=counter,
    )
    _print(done)
    # Which versions before did not note.
    suspects, damaged = done.report.get("suspects", {}), done.report.get("damaged", {})
    tell_suspects(suspects, damaged)
    return 1 if args.strict and (suspects or damaged or done.report["reasons"].get(READ)) else 0


def _calibrate(args: argparse.Namespace, recipe: Recipe, inputs: list[str] | None) -> int:
    from steel_megatron.cli.calibrate_report import calibration_table
    from steel_megatron.corpus.cleaning.calibrate import calibrate

    if not inputs:
        raise ConfigError("no --input", rule="--calibrate measures records of --input")
    proposed = Path(args.output) if args.output else None
    if proposed and proposed.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--output {proposed}", rule="with --calibrate it is a recipe and ends in .yaml")
    if proposed and proposed.exists() and not args.overwrite:
        raise ConfigError(f"--output {proposed} is there", fix="give --overwrite or another name")
    found = calibrate(recipe, inputs, records=args.records, keep=args.keep)
    print(calibration_table(found))
    if proposed:
        with whole(proposed) as file:
            file.write(found.yaml().encode())
        print(f"{proposed}: the recipe with the proposed limits")
    return 0


def _print(done: Cleaned) -> None:
    report = done.report
    if done.done_before:
        print("nothing to do: the same data is there already, from the same files and recipe")
    print(
        f"{done.output}: {report['documents']:,} of {report['records']:,} documents, "
        f"{report['text_bytes'] / 1e6:,.1f} MB of text"
    )
    for operation, reasons in report["reasons"].items():
        for reason, count in reasons.items():
            print(f"  {count:>9,} {operation}: {reason}")
    if report["failures"]:
        print(f"{report['failures']:,} documents were dropped because an operation failed on them")
    print(f"report: {done.output}.report.html; drops: {drops_of(done.output)}")
