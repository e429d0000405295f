"""The body of ``benchmarks/gpu_trace.py``: traces the ranks of a layout and prints what a step would cost."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
import warnings
from typing import Any

from fake_cuda.cards import CARDS, Card
from fake_cuda.predict import Prediction, Speed, predict
from steel_megatron.config import ConfigError, RunConfig, SteelError, load_run_config
from steel_megatron.verify.layouts import Layout

DEFAULT_PRESET, DEFAULT_BATCH, DEFAULT_MICRO_BATCH = "steel_1b", 1024, 8


def run(args: argparse.Namespace) -> int:
    """What the command line asks for; 2 if it asks for what cannot be."""
    warnings.filterwarnings("ignore")
    os.environ.setdefault("STEEL_KERNEL_TIMES", os.devnull)
    try:
        if args.card == "list":
            print(cards_table())
            return 0
        card = find_card(args.card)
        layout = Layout.parse(args.layout)
        prediction = predict(run_config(args, layout), layout, args.card, card)
    except SteelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(report(prediction, card, args.top))
    if args.json:
        args.json.write_text(json.dumps(prediction.figures(), indent=1) + "\n", encoding="utf-8")
    return 0


def find_card(name: str) -> Card:
    """A card by its name in the table.

    Raises:
        ConfigError: there is none; the nearest is named.
    """
    if name not in CARDS:
        near = [known for known in CARDS if known.startswith(name)] or difflib.get_close_matches(name, CARDS, 1)
        fix = f"did you mean {' or '.join(near)}?" if near else "list shows their figures"
        raise ConfigError(f"--card {name}", rule=f"cards are {', '.join(CARDS)}, and list", fix=fix)
    return CARDS[name]


def run_config(args: argparse.Namespace, layout: Layout) -> RunConfig:
    """The run as its file and flags have it, on a layout."""
    names = ("seq_length", "num_layers", "kernel_backend", "precision", "fp8_format", "global_batch_size")
    given: dict[str, Any] = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    given |= {"device": "cuda", "eval_iters": 0, "compile_blocks": args.compile}
    if args.packed:
        given |= {"reset_position_ids": True, "reset_attention_mask": True}
    preset = args.preset or (None if args.config else DEFAULT_PRESET)
    config = load_run_config(args.config, given, preset)
    training = config.training
    default = training.micro_batch_size if args.config else DEFAULT_MICRO_BATCH
    switched: dict[str, Any] = {
        "sp": {"sequence_parallel": True},
        "nozero": {"use_distributed_optimizer": False},
        "gpipe": {"pipeline_schedule": "gpipe"},
        "full": {"recompute_granularity": "full"},
        "selective": {"recompute_granularity": "selective"},
        "compile": {"compile_blocks": True},
    }
    for switch in layout.switches:
        config = config.replace(**switched[switch])
    config = config.replace(
        tensor_model_parallel_size=layout.tp,
        pipeline_model_parallel_size=layout.pp,
        num_layers_per_virtual_pipeline_stage=layout.vpp,
        micro_batch_size=layout.mbs or args.micro_batch_size or default,
        global_batch_size=training.global_batch_size or DEFAULT_BATCH,
    )
    if config.model.vocab_size is None:
        raise ConfigError("a model without a vocabulary", fix="name a preset that has one, or vocab_size in the file")
    return config


def cards_table() -> str:
    """The cards and their roofs."""
    lines = [
        "| card | peak, TFLOP/s | matmul roof | copy, TB/s | attention forward, backward | link, GB/s | estimated |"
    ]
    lines.append("|" + " --- |" * 7)
    for name, card in CARDS.items():
        attention = "; ".join(f"{kernel} {a:.0%}, {b:.0%}" for kernel, (a, b) in card.attention.items())
        lines.append(
            f"| {name} | {card.peak / 1e12:,.0f} | {card.matmul / 1e12:,.0f} | {card.bandwidth / 1e12:.2f} | "
            f"{attention} | {card.link / 1e9:,.0f} | {card.estimated} |"
        )
    return "\n".join(lines)


def report(found: Prediction, card: Card, top: int) -> str:
    """The prediction in words and tables."""
    n = found.micro_batches
    ratio = found.traffic_bytes / found.traffic_minimum_bytes
    lines = [
        f"{found.layout} on {found.card}: {found.tokens:,} tokens per step, {n} micro-batches per rank",
        "",
        "| prices | s per step | tokens/s per GPU | MFU, all keys | MFU, causal | of the matmul roof | messages, ms | "
        "bubble, ms |",
        "|" + " --- |" * 8,
        _speed_row("at the roofs", found.roofs, found),
        _speed_row("expected: attention as published kernels", found.expected, found),
        "",
        f"the matmul roof is {card.matmul / 1e12:,.0f} TFLOP/s; messages that nothing hides are in the time",
        f"peak memory {found.peak_bytes / 2**30:.1f} GiB of {card.memory / 2**30:.0f}",
        f"between the matmuls {found.traffic_bytes / 1e9:,.0f} GB per step, {ratio:.2f} × the fused minimum",
        "",
        "| kind | operations | GB | minimum GB | × | ms at the roofs | ms expected | of the expected step |",
        "|" + " --- |" * 8,
    ]
    for title, costs, minimum, times in (
        ("per micro-batch", found.micro_batch, found.micro_batch_minimum, n),
        ("per step", found.step, found.step_minimum, 1),
    ):
        lines.append(f"| **{title}** | | | | | | | |")
        for kind, cost in sorted(costs.kinds.items(), key=lambda item: -item[1].expected_seconds):
            least = minimum.get(kind, 0)
            against = f"{least / 1e9:.2f} | {cost.moved / least:.2f}" if least else "|"
            lines.append(
                f"| {kind} | {cost.count:.0f} | {cost.moved / 1e9:.2f} | {against} | {1e3 * cost.seconds:.2f} | "
                f"{1e3 * cost.expected_seconds:.2f} | {times * cost.expected_seconds / found.expected.seconds:.1%} |"
            )
    if found.messages:
        lines += ["", "| messages of a step | axis | calls | MB sent per rank | ms |", "|" + " --- |" * 5]
        lines += [
            f"| {kind} | {axis} | {count:,.0f} | {size / 1e6:,.1f} | {1e3 * time:.2f} |"
            for (axis, kind), (count, size, time) in found.messages.items()
        ]
    lines += ["", f"The {top} operations that move most, per micro-batch:", ""]
    moving = [item for item in found.micro_batch.operations.items() if item[1].flops == 0]
    for (kind, name), cost in sorted(moving, key=lambda item: -item[1].seconds)[:top]:
        lines.append(f"  {1e3 * cost.seconds:7.2f} ms {cost.moved / 1e9:7.2f} GB {cost.count:6.0f} × {name} ({kind})")
    return "\n".join(lines)


def _speed_row(title: str, speed: Speed, found: Prediction) -> str:
    rate = found.tokens / speed.seconds / found.devices
    return (
        f"| {title} | {speed.seconds:.3f} | {rate:,.0f} | {speed.mfu_full:.1%} | {speed.mfu_causal:.1%} | "
        f"{speed.share_of_roof:.1%} | {1e3 * speed.exposed_seconds:.1f} | {1e3 * speed.bubble_seconds:.1f} |"
    )
