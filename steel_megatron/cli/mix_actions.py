"""What ``steel mix plan`` and ``steel mix add`` do."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from steel_megatron.cli.run_data import RunPosition, batch_sizes, config_of, open_data, position_of, skips_of
from steel_megatron.config import (
    KNOBS,
    ConfigError,
    RunConfig,
    load_run_config,
    read_text,
)
from steel_megatron.reports.mix_figure import draw_mixture
from steel_megatron.samples.mixing.add import replace_when_valid, with_phase
from steel_megatron.samples.mixing.phase_drafts import AMOUNTS
from steel_megatron.samples.mixing.phases import check_resume
from steel_megatron.samples.mixing.plan import MixPlan, plan_mixture, plan_text


def show_plan(args: argparse.Namespace) -> int:
    """``steel mix plan``."""
    given = {name: value for name, value in vars(args).items() if name in KNOBS}
    position = RunPosition()
    if args.run is not None:
        config, position = config_of(Path(args.run)), position_of(Path(args.run))
        config = config.replace(**given)
    else:
        config = load_run_config(args.config, given, args.preset)
    plan = plan_of(config, position)
    if args.json:
        print(json.dumps(asdict(plan), indent=2, ensure_ascii=False))
    else:
        print(plan_text(plan, steps_of(config, position)))
    if args.figure is not None:
        draw_mixture(plan, args.figure)
        if not args.json:
            print(f"\ndrawn: {args.figure}")
    return 0


def plan_of(config: RunConfig, position: RunPosition) -> MixPlan:
    """The plan of a run; data that only served what is over need not be there."""
    datasets = open_data(config, position, from_sample=position.checkpoint_samples)
    order = datasets.train.reader.order
    known = {name: source["windows"] for phase in position.phases for name, source in phase["sources"].items()}
    order.windows = {name: count for name, count in known.items() if count is not None} | order.windows
    return plan_mixture(order, config.training.seq_length, datasets.end)


def steps_of(config: RunConfig, position: RunPosition) -> Callable[[int], int]:
    """Number of a sample in the order → the step that uses it, counted from 0."""
    sizes, skips = batch_sizes(config, position), skips_of(config)
    return lambda number: sizes.step_at(skips.place(number))


def add_phase(args: argparse.Namespace) -> int:
    """``steel mix add``."""
    folder = Path(args.run)
    config, position = config_of(folder), position_of(folder)
    if config.data.phases is None:
        raise ConfigError(
            f"{folder} was started without --phases",
            rule="a phase is added to a phases file",
            fix="write its sources with their weights as the first phase of a file, and restart it with --phases FILE",
        )
    path, seq_length = Path(config.data.phases), config.training.seq_length
    if not path.is_file():
        raise ConfigError(f"no phases file {path}", fix="call this in the folder that the run was started in")
    first = args.from_ if args.from_ is not None else -(-args.from_tokens // seq_length)
    if first < max(position.consumed_samples, 1):
        raise ConfigError(
            f"a phase from sample {first:,}, of which the run has used {position.consumed_samples:,}",
            rule="a phase begins at a sample that is still to come, and after the run's restart",
            fix="give a later --from or --from-tokens",
        )
    sizes = batch_sizes(config, position)
    text = read_text(path)
    new = with_phase(text, path, phase_of(args, path), seq_length, sizes.total_samples)
    replace_when_valid(
        path, new, lambda candidate: check_candidate(config, position, candidate), replace=not args.dry_run
    )
    if args.dry_run:
        print(new, end="")
        return 0
    step_of = steps_of(config, position)
    print(plan_text(plan_of(config, position), step_of))
    print(
        f"\n{path}: a phase from sample {first:,} (step {step_of(first) + 1:,}) is added; the run has used "
        f"{position.consumed_samples:,} samples. It takes the phase up if it is stopped and started again before that."
    )
    return 0


def check_candidate(config: RunConfig, position: RunPosition, candidate: Path) -> None:
    """Opens the data by the new file as the restart will, and compares the past."""
    before = position.phases
    if not before:
        before = open_data(config, position, from_sample=0).phases
    drafted = config.replace(phases=str(candidate))
    phases = open_data(drafted, position, from_sample=position.checkpoint_samples).phases
    check_resume(before, phases, position.consumed_samples)


def phase_of(args: argparse.Namespace, path: Path) -> dict[str, Any]:
    """The phase that the flags describe, as the file has it."""
    phase: dict[str, Any] = {}
    keys = {"from": args.from_, "from_tokens": args.from_tokens, "until": args.until}
    keys |= {"ramp": args.ramp, "ramp_tokens": args.ramp_tokens}
    phase |= {key: value for key, value in keys.items() if value is not None}
    paths = dict(pair(word, "--path") for word in args.path)
    sources: dict[str, Any] = {}
    for kind in AMOUNTS:
        for word in getattr(args, kind):
            name, value = pair(word, f"--{kind}")
            if name in sources:
                raise ConfigError(f"source {name!r} stands twice", rule="a source has a weight, epochs or tokens, once")
            sources[name] = {kind: yaml.safe_load(value)}
            if name in paths:
                prefix = paths.pop(name)
                relative = prefix if os.path.isabs(prefix) else os.path.relpath(prefix, path.parent)
                sources[name] = {"path": relative, **sources[name]}
            elif kind == "weight":
                sources[name] = sources[name]["weight"]
    if not sources:
        raise ConfigError("a phase without sources", fix="give --weight NAME=N …, --epochs or --tokens")
    if paths:
        raise ConfigError(f"--path of {', '.join(paths)}", rule="a source of the phase has a weight, epochs or tokens")
    return {**phase, "sources": sources}


def pair(word: str, flag: str) -> tuple[str, str]:
    """``NAME=VALUE``."""
    name, equals, value = word.partition("=")
    if not equals or not name or not value:
        raise ConfigError(f"{flag} {word}", rule="it is NAME=VALUE")
    return name, value
