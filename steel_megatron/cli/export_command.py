"""Checkpoint of a run → folder that transformers loads with AutoModelForCausalLM and AutoTokenizer."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from steel_megatron.config import AMOUNT, POSITIVE, Amount, add_number
from steel_megatron.jobs.sizes import parse_size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel export``."""
    parser.add_argument("--load", required=True, metavar="DIR", help="Folder of the run.")
    add_number(parser, "--step", AMOUNT, "Step of the checkpoint; the newest whole one when not given.")
    parser.add_argument("--output", required=True, metavar="DIR", help="Folder to make.")
    parser.add_argument(
        "--dtype",
        choices=("bf16", "fp16", "fp32"),
        help="Type of the weights written (default: the run's); fp32 takes the optimizer's master weights.",
    )
    parser.add_argument(
        "--tokenizer-model", metavar="MODEL", help="Tokenizer to put in (default: the one that the run names)."
    )
    parser.add_argument(
        "--family",
        metavar="NAME",
        help="Family to write: a name, or one of your own as module:Name (default: the one that has the model).",
    )
    parser.add_argument(
        "--max-shard-size",
        type=Amount("--max-shard-size", parse_size, POSITIVE),
        default="5GB",
        metavar="SIZE",
        help="Largest file of weights: 5GB, 500MB … (above 0; default: 5GB).",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="Load the folder with transformers and compare its logits with ours; takes memory for two models in fp32.",
    )
    parser.add_argument("--overwrite", action="store_true", help="Replace a model folder that is there.")


def run(args: argparse.Namespace) -> int:
    """Exports, and tells what was written."""
    from steel_megatron.huggingface.check import check_export
    from steel_megatron.huggingface.export import export_checkpoint

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    done = export_checkpoint(
        Path(args.load),
        Path(args.output),
        step=args.step,
        precision=args.dtype,
        tokenizer_model=args.tokenizer_model,
        max_shard_size=args.max_shard_size,
        overwrite=args.overwrite,
        family=args.family,
    )
    print(
        f"{done.folder}: {done.family}, step {done.step}, {done.parameters:,} parameters in {done.dtype} "
        f"({done.bytes / 1e9:.2f} GB){'' if done.tokenizer else ', without tokenizer'}"
    )
    if args.check:
        difference = check_export(Path(args.load), done.step, done.folder)
        print(f"checked: logits in transformers differ from ours by at most {difference:.2g} (fp32)")
    return 0
