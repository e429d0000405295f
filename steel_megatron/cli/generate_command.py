"""Continues a prompt with a trained model and prints the text as it comes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from steel_megatron.cli.text_printer import TextPrinter
from steel_megatron.config import AMOUNT, COUNT, POSITIVE, add_number, at_least, read_text, share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``steel generate``."""
    model = parser.add_argument_group("model")
    source = model.add_mutually_exclusive_group(required=True)
    source.add_argument("--load", metavar="DIR", help="Folder of a run.")
    source.add_argument("--hf", metavar="DIR", help="Hugging Face folder.")
    add_number(model, "--step", AMOUNT, "With --load: step; the newest whole one when not given.")
    model.add_argument("--tokenizer-model", metavar="MODEL", help="With --load: instead of the run's tokenizer.")
    model.add_argument("--dtype", choices=("bf16", "fp16", "fp32"), help="Type to compute in (default: as stored).")
    model.add_argument(
        "--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: cuda if present (default)."
    )
    prompt = parser.add_argument_group("prompt")
    texts = prompt.add_mutually_exclusive_group(required=True)
    texts.add_argument("--prompt", nargs="+", metavar="TEXT", help="One or more texts to continue.")
    texts.add_argument("--prompt-file", metavar="FILE", help="A file that holds one text to continue; - for the input.")
    sampling = parser.add_argument_group("sampling")
    add_number(sampling, "--max-new-tokens", COUNT, "Longest text.", default=128)
    sampling.add_argument("--greedy", action="store_true", help="Always the likeliest token.")
    add_number(
        sampling,
        "--temperature",
        POSITIVE,
        "Divides logits.",
        kind=float,
        default=1.0,
        metavar="T",
        fix="use --greedy for the likeliest token",
    )
    add_number(sampling, "--top-k", at_least(0, zero="all"), "Only the K likeliest.", default=0, metavar="K")
    add_number(
        sampling,
        "--top-p",
        share(zero=False),
        "Only the likeliest that make up P; 1: all.",
        kind=float,
        default=1.0,
        metavar="P",
    )
    add_number(
        sampling,
        "--repetition-penalty",
        POSITIVE,
        "Above 1: less of what was said.",
        kind=float,
        default=1.0,
        metavar="R",
    )
    add_number(sampling, "--seed", AMOUNT, "Same seed, same text.", default=0)
    add_number(sampling, "--num-samples", at_least(1, most=1_000_000), "Texts per prompt.", default=1)


def run(args: argparse.Namespace) -> int:
    """Prints each prompt with its continuation."""
    from steel_megatron.generate import inference
    from steel_megatron.generate.run import generate
    from steel_megatron.generate.sampling import SamplingSettings

    settings = SamplingSettings(args.greedy, args.temperature, args.top_k, args.top_p, args.repetition_penalty)
    prompts = [text for text in read_prompts(args) for _ in range(args.num_samples)]
    device = inference.choose_device(args.device)
    if args.load is not None:
        text_model = inference.from_run(Path(args.load), args.step, args.tokenizer_model, args.dtype, device)
    else:
        text_model = inference.from_folder(Path(args.hf), args.dtype, device)
    printer = TextPrinter(prompts, text_model.decode, text_model.stop_ids, sys.stdout)
    generate(
        text_model.model,
        [text_model.encode(text) for text in prompts],
        max_new_tokens=args.max_new_tokens,
        settings=settings,
        stop_ids=text_model.stop_ids,
        seed=args.seed,
        on_token=printer.add,
    )
    printer.end()
    return 0


def read_prompts(args: argparse.Namespace) -> list[str]:
    """The texts to continue."""
    if args.prompt is not None:
        return list(args.prompt)
    if args.prompt_file == "-":
        return [sys.stdin.read()]
    return [read_text(Path(args.prompt_file), "--prompt-file")]
