"""Records of a corpus → {"text", "source", "id"} JSON lines; a bad record is counted, kept apart, and costs itself."""

from __future__ import annotations

import argparse

from steel_megatron.cli.messages import show_messages
from steel_megatron.cli.shared_flags import add_engine, add_skip_damaged, add_strict, tell_suspects
from steel_megatron.config import PROCESSES, ConfigError, add_number
from steel_megatron.config.ranges import Number
from steel_megatron.corpus import all_corpora, convert_corpus, find_corpus
from steel_megatron.corpus.corpus import REASONS
from steel_megatron.corpus.registry import CORPORA


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel convert``."""
    corpora = all_corpora()
    width = max(map(len, corpora))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "corpora:\n" + "\n".join(f"  {corpus.name:<{width}}  {corpus.about}" for corpus in corpora.values())
    parser.epilog += "".join(f"\n  {name:<{width}}  from {place}" for name, place in CORPORA.installed.items())
    parser.add_argument(
        "--corpus",
        required=True,
        metavar="NAME",
        help="What the files are: one of those below, or of your own: package.module:CORPUS or path.py:CORPUS.",
    )
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        help="Files, folders, glob patterns or URLs that fsspec knows; what they hold is told from their content, "
        "also packed (.gz, .zst, .bz2, .xz, .zip, .tar).",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="PLACE",
        help="FOLDER for shards of bounded size, or FILE.jsonl, FILE.jsonl.gz or FILE.jsonl.zst.",
    )
    parser.add_argument("--source", metavar="NAME", help='What "source" says in each line (default: the corpus).')
    add_number(parser, "--workers", PROCESSES, "Processes that convert.", default=1)
    add_engine(parser)
    parser.add_argument("--overwrite", action="store_true", help="Replace an output that is there.")
    add_strict(parser)
    add_skip_damaged(parser)
    options = parser.add_argument_group("options of some corpora")
    options.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="An option of a corpus of your own; may be given several times.",
    )
    shared = {option.name: option for corpus in corpora.values() for option in corpus.options}
    for name, option in shared.items():
        owners = ", ".join(corpus.name for corpus in corpora.values() if option in corpus.options)
        told = "" if option.allowed is None else f"{option.allowed}; "
        options.add_argument(
            option.flag,
            dest=f"option_{name}",
            choices=option.choices or None,
            type=str if option.allowed is None else Number(option.flag, int, option.allowed),
            metavar=None if option.choices else "VALUE" if option.allowed is None else "N",
            help=f"{owners}: {option.help} ({told}default: {option.default or 'none'})",
        )


def run(args: argparse.Namespace) -> int:
    """Converts; 1 with ``--strict`` when a record was rejected, else 0."""
    show_messages()
    given = {name.removeprefix("option_"): value for name, value in vars(args).items() if name.startswith("option_")}
    given |= dict(_pair(text) for text in args.option)
    done = convert_corpus(
        args.corpus,
        args.input,
        args.output,
        options={name: str(value) for name, value in given.items() if value is not None},
        source=args.source,
        workers=args.workers,
        engine=args.engine,
        overwrite=args.overwrite,
        skip_damaged=args.skip_damaged,
    )
    manifest, corpus = done.manifest, find_corpus(args.corpus)
    if done.done_before:
        print("nothing to do: the same data is there already, from the same files and settings")
    files = len({file.name for file in manifest.inputs} - set(manifest.passed_over))
    print(
        f"{done.output}: {manifest.documents:,} documents of {manifest.records:,} records, "
        f"{manifest.text_bytes / 1e6:,.1f} MB of text from {files:,} files"
    )
    if manifest.passed_over:
        print(
            f"{len(manifest.passed_over):,} files passed over, which hold no records of {args.corpus}; "
            f"first {manifest.passed_over[0]}"
        )
    tell_suspects(manifest.suspects, manifest.damaged)
    if done.rejected:
        print(f"{done.rejected:,} records rejected, kept in {done.rejects_path}:")
        says = REASONS | dict(corpus.reasons)
        for reason, count in manifest.rejects.items():
            print(f"  {count:>9,} {reason}: {says.get(reason, '')}")
    return 1 if args.strict and (done.rejected or manifest.suspects or manifest.damaged) else 0


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ConfigError(f"--option {text}", rule="it is NAME=VALUE", fix="name the option, as --option text_key=body")
    return name.replace("-", "_"), value
