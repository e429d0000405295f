"""Trains a byte-level BPE on JSON lines and saves it as a folder that transformers' AutoTokenizer loads."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from steel_megatron.cli.messages import show_messages
from steel_megatron.cli.shared_flags import add_engine, add_strict, tell_suspects
from steel_megatron.config import IDS, POSITIVE, PROCESSES, Amount, add_number, at_least
from steel_megatron.jobs.sizes import parse_size
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokenizer.byte_bpe import QWEN_SPECIAL_TOKENS
from steel_megatron.tokens.vocabulary.run import LEAST_MEMORY, refuse_trained, train_tokenizer

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel train-tokenizer``."""
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        help="Files, folders, glob patterns or URLs of JSON lines, plain or packed.",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="Folder to write.")
    add_number(parser, "--vocab-size", IDS, "Ids in all, the special tokens included.", required=True)
    parser.add_argument("--json-key", default="text", metavar="KEY", help="Field that holds the text (default: text).")
    parser.add_argument(
        "--special-tokens",
        nargs="*",
        default=list(QWEN_SPECIAL_TOKENS),
        metavar="TOKEN",
        help=f"Control tokens, which get the last ids (default: {' '.join(QWEN_SPECIAL_TOKENS)}).",
    )
    parser.add_argument(
        "--max-bytes",
        type=Amount("--max-bytes", parse_size, POSITIVE),
        metavar="N",
        help="Train on about so much text, taken from every file by its size; K, M, G for 10^3, 10^6, 10^9 (above 0).",
    )
    add_number(parser, "--workers", PROCESSES, "Processes that count.", default=1)
    parser.add_argument(
        "--memory",
        type=Amount("--memory", parse_size, at_least(LEAST_MEMORY)),
        default="8G",
        metavar="SIZE",
        help="What all processes may take together; where the distinct clauses and words have no room in it, some of "
        f"the rare ones stand for the others ({at_least(LEAST_MEMORY)}; default: 8G).",
    )
    add_engine(parser)
    add_strict(parser)
    parser.add_argument("--overwrite", action="store_true", help="Replace a tokenizer that is there.")


def run(args: argparse.Namespace) -> int:
    """Trains and saves; 1 with ``--strict`` when a line was passed over, else 0."""
    show_messages()
    output = Path(args.output)
    if not args.overwrite:
        refuse_trained(output)
    trained = train_tokenizer(
        args.input,
        output,
        args.vocab_size,
        key=args.json_key,
        special_tokens=args.special_tokens,
        max_bytes=args.max_bytes,
        memory=args.memory,
        workers=args.workers,
        engine=args.engine,
    )
    tokenizer = build_tokenizer("HuggingFaceTokenizer", output)
    if tokenizer.vocab_size < args.vocab_size:
        log.warning("the text has pairs for %d ids only, not %d", tokenizer.vocab_size, args.vocab_size)
    tell_suspects(trained.suspects, {})
    print(f"{output}: {tokenizer.vocab_size:,} ids, fingerprint {tokenizer.fingerprint}; {trained.summary()}")
    return 1 if args.strict and (trained.rejects or trained.suspects) else 0
