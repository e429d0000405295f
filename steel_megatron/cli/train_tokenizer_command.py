"""Trains a byte-level BPE on JSON lines and saves it as a folder that transformers' AutoTokenizer loads."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from steel_megatron.cli.messages import show_messages
from steel_megatron.config import IDS, POSITIVE, Amount, DataError, add_number
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs
from steel_megatron.jobs.sizes import parse_size
from steel_megatron.jobs.writable import check_folder
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokenizer.byte_bpe import QWEN_SPECIAL_TOKENS
from steel_megatron.tokenizer.hf_folder import write_folder
from steel_megatron.tokenizer.train import train_bpe
from steel_megatron.tokens.tokenise.sample_texts import TextSample

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
    parser.add_argument("--overwrite", action="store_true", help="Replace a tokenizer that is there.")


def run(args: argparse.Namespace) -> int:
    """Trains and saves."""
    show_messages()
    output = Path(args.output)
    if (output / "tokenizer.json").exists() and not args.overwrite:
        raise DataError(
            f"{output / 'tokenizer.json'} is there already",
            rule="a tokenizer is not replaced unasked: data made with it would lose its meaning",
            fix="use another --output, or --overwrite",
        )
    found = find_inputs(args.input, JSON_LINES, output=output)
    found.tell()
    check_folder(output)
    sample = TextSample([file.location for file in found.files], args.json_key, args.max_bytes)
    backend = train_bpe(sample, args.vocab_size, args.special_tokens)
    write_folder(backend, args.special_tokens, output)
    tokenizer = build_tokenizer("HuggingFaceTokenizer", output)
    if tokenizer.vocab_size < args.vocab_size:
        log.warning("the text has pairs for %d ids only, not %d", tokenizer.vocab_size, args.vocab_size)
    print(f"{output}: {tokenizer.vocab_size:,} ids, fingerprint {tokenizer.fingerprint}; {sample.summary()}")
    return 0
