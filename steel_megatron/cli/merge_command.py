"""Joins .bin/.idx datasets of one token type and one tokenizer into one, in constant memory."""

from __future__ import annotations

import argparse

from steel_megatron.cli.messages import show_messages
from steel_megatron.config import ConfigError
from steel_megatron.tokens.merge.run import merge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel merge`` and of ``tools/preprocess/merge_datasets.py``."""
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="PATH",
        help="Prefixes, .bin or .idx files in the order to join them, or a folder, whose datasets are taken by name.",
    )
    parser.add_argument("--output-prefix", required=True, metavar="PREFIX", help="Path of the result without .bin.")
    parser.add_argument("--overwrite", action="store_true", help="Replace a dataset that is there.")
    parser.add_argument(
        "--no-manifest", action="store_true", help="Neither read the inputs' manifests and hashes nor write a manifest."
    )
    parser.add_argument("--multimodal", action="store_true", help="Refused: only text datasets are joined.")


def run(args: argparse.Namespace) -> int:
    """Joins the datasets and prints what came of it."""
    if args.multimodal:
        raise ConfigError("--multimodal", rule="only text datasets are joined", fix="leave the flag out")
    show_messages()
    merged = merge(args.input, args.output_prefix, overwrite=args.overwrite, use_manifests=not args.no_manifest)
    print(
        f"{merged.prefix}.bin: {merged.documents:,} documents, {merged.tokens:,} tokens ({merged.dtype}) "
        f"from {len(merged.inputs):,} datasets"
    )
    if merged.manifest is None:
        print("no manifest: training cannot check which tokenizer made this data")
    return 0
