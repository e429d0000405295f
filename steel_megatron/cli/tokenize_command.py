"""JSON lines → {output-prefix}_{key}_document.{bin,idx,manifest.json}, Megatron's format, with Megatron's flags."""

from __future__ import annotations

import argparse

from steel_megatron.cli.messages import show_messages
from steel_megatron.cli.shared_flags import add_engine, add_skip_damaged, add_strict, tell_suspects
from steel_megatron.cli.tokenizer_flags import add_tokenizer
from steel_megatron.config import AMOUNT, COUNT, PROCESSES, ConfigError, add_number, at_least
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokenizer.encoders import AUTO, ENCODERS
from steel_megatron.tokens.token_type import AUTO as AUTO_TYPE
from steel_megatron.tokens.token_type import TOKEN_TYPES
from steel_megatron.tokens.tokenise.run import tokenize


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel tokenize`` and of ``tools/preprocess/preprocess_data.py``."""
    data = parser.add_argument_group("input")
    data.add_argument(
        "--input",
        nargs="+",
        required=True,
        help="Files, folders, glob patterns or URLs of JSON lines, plain or packed.",
    )
    data.add_argument(
        "--json-keys", nargs="+", default=["text"], metavar="KEY", help="Fields to tokenise (default: text)."
    )
    data.add_argument("--split-sentences", action="store_true", help="Refused: a GPT model reads whole documents.")
    tokens = parser.add_argument_group("tokenizer")
    add_tokenizer(tokens, "The tokenizer.")
    tokens.add_argument(
        "--encoder",
        choices=ENCODERS,
        default=AUTO,
        help="Library that encodes, once its ids have proved equal to the tokenizer's (default: the fastest there is).",
    )
    tokens.add_argument("--append-eod", action="store_true", help="End each document with the end-of-document id.")
    output = parser.add_argument_group("output")
    output.add_argument("--output-prefix", required=True, metavar="PREFIX", help="Path before _{key}_document.bin.")
    output.add_argument("--overwrite", action="store_true", help="Replace a dataset that is there.")
    output.add_argument(
        "--shuffle-documents", action="store_true", help="Write the documents in a random order that --seed decides."
    )
    add_number(output, "--seed", AMOUNT, "Of --shuffle-documents.", default=1234)
    output.add_argument(
        "--token-type",
        choices=TOKEN_TYPES,
        default=AUTO_TYPE,
        help="Of the ids: Megatron's (default), or uint24, three bytes and not four, which Megatron-LM does not read.",
    )
    add_strict(output)
    add_skip_damaged(output)
    run = parser.add_argument_group("run")
    add_number(run, "--workers", PROCESSES, "Processes that encode.", default=1)
    add_engine(run)
    add_number(run, "--log-interval", at_least(0, zero="never"), "Documents between log lines.", default=10_000)
    add_number(run, "--partitions", COUNT, "Taken for Megatron's sake; --workers does what it did.", default=1)
    run.add_argument(
        "--keep-sequential-samples", action="store_true", help="Taken for Megatron's sake; the order is always kept."
    )


def run(args: argparse.Namespace) -> int:
    """Tokenises; 1 with ``--strict`` when a line was rejected, else 0."""
    if args.split_sentences:
        raise ConfigError(
            "--split-sentences",
            rule="one document is one sequence: sentences apart are for BERT-like models, which this project has not",
            fix="leave the flag out",
        )
    show_messages()
    done = tokenize(
        args.input,
        args.output_prefix,
        build_tokenizer(args.tokenizer_type, args.tokenizer_model, args.vocab_size),
        keys=args.json_keys,
        append_eod=args.append_eod,
        encoder=args.encoder,
        shuffle_seed=args.seed if args.shuffle_documents else None,
        token_type=args.token_type,
        workers=args.workers,
        engine=args.engine,
        overwrite=args.overwrite,
        skip_damaged=args.skip_damaged,
        log_interval=args.log_interval,
    )
    if done.done_before:
        print("nothing to do: the same data is there already, from the same input, tokenizer and settings")
    for prefix, manifest in done.manifests.items():
        print(f"{prefix}.bin: {manifest.documents:,} documents, {manifest.tokens:,} tokens ({manifest.dtype})")
    first = next(iter(done.manifests.values()))
    tell_suspects(first.suspects, first.damaged)
    if done.rejected:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in first.rejects.items())
        print(f"{done.rejected:,} lines rejected: {reasons}; see {done.rejects_path}")
    return 1 if args.strict and (done.rejected or first.suspects or first.damaged) else 0
