"""What a model takes before anything is started: parameters, FLOPs, memory per device, days for a number of tokens."""

from __future__ import annotations

import argparse

from steel_megatron.config import KNOBS, ConfigError, RunConfig, add_run_flags, check_model, load_run_config

UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to show")
    what.add_argument("--list", action="store_true", help="The presets side by side.")
    what.add_argument("--markdown", action="store_true", help="With --list: as a Markdown table.")
    machine = parser.add_argument_group("machine and length")
    machine.add_argument("--devices", type=int, metavar="N", help="GPUs in all; default: as many as the layout needs.")
    machine.add_argument("--mfu", type=float, default=0.5, help="Share of the peak that is used (default: 0.5).")
    machine.add_argument("--tokens", metavar="N", help="Length of the run, as 300B or 1T: prints the days it takes.")
    pipeline = parser.add_argument_group("pipeline")
    pipeline.add_argument(
        "--draw-schedule", metavar="FILE", help="Draw the pipeline's timeline (.svg, or .png with matplotlib)."
    )
    add_run_flags(parser, ("model", "training", "parallel", "logging"))


def run(args: argparse.Namespace) -> int:
    from steel_megatron.plan.report import Speed, markdown_table, model_report, plain_table, planned, preset_table

    if args.list:
        print((markdown_table if args.markdown else plain_table)(preset_table()))
        return 0
    given = {name: value for name, value in vars(args).items() if name in KNOBS}
    config = planned(load_run_config(args.config, given, args.preset))
    parallel = config.parallel
    smallest = parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size
    devices = smallest if args.devices is None else args.devices
    check_model(config.model)
    if devices < 1 or not 0 < args.mfu <= 1:
        raise ConfigError(f"--devices {devices}, --mfu {args.mfu}", rule="at least one device, and MFU in (0, 1]")
    peak = config.logging.peak_tflops
    if args.tokens is not None and peak is None:
        raise ConfigError("--tokens without --peak-tflops", fix="give the device's dense 16-bit peak, 312 for an A100")
    speed = None if peak is None else Speed(peak * 1e12, args.mfu)
    print(model_report(config, devices, speed, None if args.tokens is None else parse_count(args.tokens)))
    if parallel.pipeline_model_parallel_size > 1 or args.draw_schedule is not None:
        report_pipeline(config, devices, args.draw_schedule)
    return 0


def report_pipeline(config: RunConfig, devices: int, file: str | None) -> None:
    """Prints how the model runs through its pipeline, and draws it into a file if one is named."""
    from steel_megatron.parallel.pipeline.draw import picture
    from steel_megatron.plan.pipeline import pipeline_report, pipeline_timeline

    timeline = pipeline_timeline(config, devices)
    print(f"\n{pipeline_report(config, timeline)}")
    if file is not None:
        picture(timeline).save(file)
        print(f"drawn: {file}")


def parse_count(text: str) -> float:
    """``1T`` → 1e12; also K, M, B (or G), and plain numbers."""
    number, unit = (text[:-1], text[-1].upper()) if text and text[-1].upper() in UNITS else (text, "")
    try:
        return float(number) * UNITS.get(unit, 1.0)
    except ValueError:
        raise ConfigError(f"--tokens {text}", rule="a number, with K, M, B or T behind it if wanted") from None
