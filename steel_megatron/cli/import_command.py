"""Hugging Face folder → folder of a run whose checkpoint holds the weights, for --pretrained-checkpoint."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel import``."""
    parser.add_argument("--hf", required=True, metavar="DIR", help="Folder with config.json and safetensors.")
    parser.add_argument("--save", required=True, metavar="DIR", help="Folder of the run to make.")
    parser.add_argument(
        "--dtype", choices=("bf16", "fp16", "fp32"), help="Type of the checkpoint (default: that of the files)."
    )
    parser.add_argument("--tokenizer-model", metavar="MODEL", help="Tokenizer to keep (default: the one in --hf).")
    parser.add_argument(
        "--family",
        metavar="NAME",
        help="Family of the files: a name, or one of your own as module:Name (default: what config.json says).",
    )


def run(args: argparse.Namespace) -> int:
    """Imports, and tells what was written."""
    from steel_megatron.huggingface.import_ import import_folder

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    done = import_folder(
        Path(args.hf),
        Path(args.save),
        precision=args.dtype,
        tokenizer_model=args.tokenizer_model,
        family=args.family,
    )
    print(
        f"{done.folder}: {done.family}, {done.parameters:,} parameters in {done.precision}"
        f"{'' if done.tokenizer else ', without tokenizer'}"
    )
    print(f"train from it: steel train --config {done.folder / 'config.yaml'} --pretrained-checkpoint {done.folder} …")
    return 0
