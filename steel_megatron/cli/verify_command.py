"""Prove that every layout of this machine computes the same training run, on your configuration made small.

Trains the model in fp32 for a few steps on one process and on every layout, compares losses, gradient norms and final
weights, prints a table, writes a certificate (JSON and Markdown), and exits with status 1 when anything differs.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import platform
from pathlib import Path
from typing import Any

from steel_megatron import __version__
from steel_megatron.config import (
    COUNT,
    KNOBS,
    PROCESSES,
    ConfigError,
    add_number,
    add_run_flags,
    load_run_config,
)
from steel_megatron.jobs.writable import check_file

HEADER = (
    "| layout | processes | loss | gradient norm | weights | seconds | |\n| --- | --- | --- | --- | --- | --- | --- |"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to verify")
    add_number(
        what,
        "--world-size",
        PROCESSES,
        "Processes: on CPU, unless there are N GPUs; as many as there are GPUs, else 8, when not given.",
    )
    what.add_argument(
        "--layouts",
        metavar="LIST",
        help="Layouts joined by ';', as 'tp2,pp2,dp2;dp4,nozero' (default: all sensible ones).",
    )
    add_number(what, "--steps", COUNT, "Training steps per layout.", default=5)
    what.add_argument(
        "--certificate",
        metavar="PREFIX",
        default="steel_verify",
        help="Writes PREFIX.json and PREFIX.md (default: steel_verify).",
    )
    add_run_flags(parser, ("model", "training", "optimizer", "parallel"))


def run(args: argparse.Namespace) -> int:
    import torch

    from steel_megatron.verify.layouts import Layout, certificate, default_layouts, fits
    from steel_megatron.verify.processes import verify
    from steel_megatron.verify.shrink import shrink

    given = {name: value for name, value in vars(args).items() if name in KNOBS}
    config = load_run_config(args.config, given, args.preset)
    world_size = args.world_size or torch.cuda.device_count() or 8
    device = "cuda" if 0 < world_size <= torch.cuda.device_count() and config.training.device != "cpu" else "cpu"
    config.model.check()
    small = shrink(config, args.steps)
    layouts, left_out = [], {}
    for layout in default_layouts(world_size):
        left_out[layout.name] = fits(layout, small)
        layouts += [] if left_out[layout.name] else [layout]
    if args.layouts is not None:
        left_out = {}
        layouts = [Layout.parse(text.strip()) for text in args.layouts.split(";") if text.strip()]
        if not layouts:
            raise ConfigError(f"--layouts {args.layouts!r}", rule="it names one layout or more", fix="leave it out")
        for layout in layouts:
            if layout.world_size > world_size:
                raise ConfigError(
                    f"layout {layout.name} with --world-size {world_size}", fix=f"--world-size {layout.world_size}"
                )
    for suffix in (".json", ".md"):
        check_file(Path(args.certificate + suffix))
    for name, why in left_out.items():
        if why:
            print(f"left out, since no model of this kind can be divided so: {name} ({why})")
    print(f"{len(layouts)} layouts on {device}, {args.steps} steps each, against one process\n\n{HEADER}", flush=True)
    outcomes = []
    for layout, outcome in zip(layouts, verify(small, layouts, device), strict=True):
        outcomes.append(outcome)
        print(row(layout.world_size, outcome), flush=True)
        if outcome.error:
            print(f"\n{outcome.error}\n", flush=True)
    facts = {
        "steel_megatron": __version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU, gloo",
        "date": datetime.date.today().isoformat(),
        "model": small.to_dict()["model"],
    }
    proof = certificate(outcomes, facts)
    write_certificate(
        Path(args.certificate), proof, [row(a.world_size, b) for a, b in zip(layouts, outcomes, strict=True)]
    )
    worst = proof["largest differences"]
    print(
        f"\n{'every layout agrees' if proof['agrees'] else 'LAYOUTS DIFFER'}: loss within {worst['loss']:.1e}, "
        f"gradient norm within {worst['gradient norm']:.1e} (relative), weights within {worst['weights']:.1e}; "
        f"written to {args.certificate}.json and {args.certificate}.md"
    )
    return 0 if proof["agrees"] else 1


def row(processes: int, outcome: object) -> str:
    """A layout's line of the table."""
    from steel_megatron.verify.layouts import Outcome

    assert isinstance(outcome, Outcome)
    if outcome.error:
        return f"| {outcome.layout} | {processes} | | | | | FAILED |"
    return (
        f"| {outcome.layout} | {processes} | {outcome.loss_difference:.1e} | {outcome.norm_difference:.1e} | "
        f"{outcome.weight_difference:.1e} | {outcome.seconds:.1f} | {'agrees' if outcome.agrees else 'DIFFERS'} |"
    )


def write_certificate(prefix: Path, proof: dict[str, Any], rows: list[str]) -> None:
    """JSON for machines, Markdown for people; JSON, which knows no NaN and no infinity, has null in their places."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(_with_nulls(proof), indent=1, allow_nan=False)
    Path(f"{prefix}.json").write_text(text + "\n", encoding="utf-8")
    allowed = ", ".join(f"{limit:g} for {name}" for name, limit in proof["tolerances"].items())
    head = [
        "# Certificate of layout parity",
        "",
        f"{proof['date']}; steel_megatron {proof['steel_megatron']}, torch {proof['torch']}, Python {proof['python']}, "
        f"{proof['device']}. {'Every layout agrees.' if proof['agrees'] else 'LAYOUTS DIFFER.'}",
        "",
        f"Largest differences to one process; allowed are {allowed}.",
        "",
    ]
    Path(f"{prefix}.md").write_text("\n".join([*head, HEADER, *rows]) + "\n", encoding="utf-8")


def _with_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_nulls(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_nulls(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
