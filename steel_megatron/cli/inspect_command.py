"""What is in a .bin/.idx dataset: its numbers, one of its documents, or whether its files are as they were made."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict

from tqdm import tqdm

from steel_megatron.dataset.inspect import inspect_dataset, inspect_document, verify
from steel_megatron.dataset.inspect_text import dataset_text, document_text, verification_text
from steel_megatron.tokenizer import TOKENIZER_TYPES, build_tokenizer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel inspect``."""
    parser.add_argument("prefix", metavar="PREFIX", help="Path of the dataset without .bin or .idx.")
    parser.add_argument("--document", type=int, metavar="N", help="Print document N, counted from 0.")
    parser.add_argument("--tokenizer-model", metavar="MODEL", help="Decode the document with this tokenizer.")
    parser.add_argument("--tokenizer-type", choices=TOKENIZER_TYPES, help="Kind, where the model does not tell it.")
    parser.add_argument("--vocab-size", type=int, metavar="N", help="Number of ids of the NullTokenizer's data.")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="Read everything; compare with the manifest's hashes. Exit status 2 if not.",
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object.")


def run(args: argparse.Namespace) -> int:
    """Prints the report."""
    prefix = os.path.splitext(args.prefix)[0] if args.prefix.endswith((".bin", ".idx")) else args.prefix
    if args.document is not None:
        given = args.tokenizer_model is not None or args.tokenizer_type is not None
        tokenizer = build_tokenizer(args.tokenizer_type, args.tokenizer_model, args.vocab_size) if given else None
        document = inspect_document(prefix, args.document, tokenizer)
        print(json.dumps(asdict(document), ensure_ascii=False) if args.json else document_text(document))
        return 0
    report = inspect_dataset(prefix)
    found = None
    if args.verify:
        with tqdm(total=report.bin_bytes, desc="verify", unit="B", unit_scale=True, disable=None) as bar:
            found = verify(prefix, bar.update)
    if args.json:
        checked = {} if found is None else {"verified": asdict(found)}
        print(json.dumps({**asdict(report), **checked}, indent=2, ensure_ascii=False))
    else:
        print(dataset_text(report))
        if found is not None:
            print(f"\n{verification_text(found)}")
    return 0
