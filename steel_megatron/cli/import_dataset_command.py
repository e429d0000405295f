"""Token ids of another program (lit-gpt's packed .bin, parquet lists, .npy) → .bin/.idx dataset with a manifest."""

from __future__ import annotations

import argparse

from steel_megatron.cli.messages import show_messages
from steel_megatron.cli.tokenizer_flags import add_tokenizer, given_tokenizer
from steel_megatron.config import ConfigError, add_number
from steel_megatron.config.ranges import ID
from steel_megatron.tokens.foreign.import_tokens import import_tokens


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel import-dataset``."""
    parser.add_argument(
        "--input", nargs="+", required=True, metavar="PATH", help="Files of one kind in order, or folders of them."
    )
    parser.add_argument("--output-prefix", required=True, metavar="PREFIX", help="Path of the dataset without .bin.")
    add_tokenizer(parser, "The tokenizer that made the ids.")
    parser.add_argument("--no-manifest", action="store_true", help="Import without a tokenizer: nothing is checked.")
    add_number(parser, "--begin-id", ID, "In a stream, each document begins with this id.", metavar="ID")
    add_number(parser, "--end-id", ID, "In a stream, each document ends with this id.", metavar="ID")
    parser.add_argument("--column", metavar="NAME", help="Parquet: the column, where several hold lists of ids.")
    parser.add_argument("--append-eod", action="store_true", help="End documents with the tokenizer's end id.")
    parser.add_argument("--overwrite", action="store_true", help="Replace a dataset that is there.")


def run(args: argparse.Namespace) -> int:
    """Imports and prints what came of it."""
    named = args.tokenizer_model is not None or args.tokenizer_type is not None
    if named == args.no_manifest:
        raise ConfigError(
            "a tokenizer and --no-manifest" if named else "no tokenizer",
            rule="ids mean something to the tokenizer that made them, which the manifest names",
            fix="leave one of them out" if named else "give --tokenizer-model, or --no-manifest to go without checks",
        )
    show_messages()
    done = import_tokens(
        args.input,
        args.output_prefix,
        given_tokenizer(args),
        begin_id=args.begin_id,
        end_id=args.end_id,
        column=args.column,
        append_eod=args.append_eod,
        overwrite=args.overwrite,
    )
    print(f"{done.prefix}.bin: {done.documents:,} documents, {done.tokens:,} tokens ({done.dtype})")
    if done.padding:
        print(f"left out {done.padding:,} ids of padding")
    if done.rejects:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in done.rejects.items())
        print(f"rejected {sum(done.rejects.values()):,} documents: {reasons} (see {done.prefix}.rejects.jsonl)")
    if done.manifest is None:
        print("no manifest: training cannot check which tokenizer made this data")
    return 0
