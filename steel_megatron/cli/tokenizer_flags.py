"""The flags that name a tokenizer."""

from __future__ import annotations

import argparse

from steel_megatron.config import IDS, add_number
from steel_megatron.tokenizer import TOKENIZER_TYPES, Tokenizer, build_tokenizer


def add_tokenizer(parser: argparse._ActionsContainer, purpose: str) -> None:
    """``--tokenizer-model`` and what goes with it; ``purpose`` is a sentence on the tokenizer."""
    parser.add_argument(
        "--tokenizer-model",
        metavar="MODEL",
        help=f"{purpose} Folder with tokenizer.json, hub name, .tiktoken or .model file.",
    )
    parser.add_argument("--tokenizer-type", choices=TOKENIZER_TYPES, help="Kind, where the model does not tell it.")
    add_number(parser, "--vocab-size", IDS, "Number of ids of the NullTokenizer's data.")


def given_tokenizer(args: argparse.Namespace) -> Tokenizer | None:
    """The tokenizer of these flags; None where they name none."""
    if args.tokenizer_model is None and args.tokenizer_type is None:
        return None
    return build_tokenizer(args.tokenizer_type, args.tokenizer_model, args.vocab_size)
