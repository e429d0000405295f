"""What a model takes before anything is started: parameters, FLOPs, memory per device, days for a number of tokens."""

from __future__ import annotations

import argparse
import gc
from pathlib import Path

from steel_megatron.config import (
    COUNT,
    KNOBS,
    POSITIVE,
    Amount,
    ConfigError,
    RunConfig,
    add_number,
    add_run_flags,
    load_run_config,
    share,
)

UNITS = {"K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what to show")
    what.add_argument("--list", action="store_true", help="The presets side by side.")
    what.add_argument("--markdown", action="store_true", help="With --list: as a Markdown table.")
    machine = parser.add_argument_group("machine and length")
    add_number(machine, "--devices", COUNT, "GPUs in all; as many as the layout needs when not given.")
    add_number(
        machine, "--mfu", share(zero=False), "Share of the peak that is used.", kind=float, default=0.5, metavar="SHARE"
    )
    machine.add_argument(
        "--tokens",
        type=Amount("--tokens", parse_count, POSITIVE),
        metavar="N",
        help="Length of the run, as 300B or 1T: prints the days it takes (above 0).",
    )
    saving = parser.add_argument_group("saving")
    saving.add_argument(
        "--save", metavar="DIR", help="Measures there how fast a process saves, for the time of a save."
    )
    add_number(
        saving,
        "--save-speed",
        POSITIVE,
        "Speed of a save, by all processes together; a run's log tells it at each save.",
        kind=float,
        default=1.0,
        metavar="GB/S",
    )
    pipeline = parser.add_argument_group("pipeline")
    pipeline.add_argument(
        "--draw-schedule", metavar="FILE", help="Draw the pipeline's timeline (.svg, or .png with matplotlib)."
    )
    add_run_flags(parser, ("model", "training", "parallel", "logging"))


def run(args: argparse.Namespace) -> int:
    # The objects that torch makes while it is loaded stay. To look through them, then and when Python ends, takes a
    # third of a plan's time.
    gc.disable()
    try:
        from steel_megatron.jobs.tables import markdown_table, plain_table
        from steel_megatron.plan.report import Speed, model_report, planned, preset_table
    finally:
        gc.freeze()
        gc.enable()
    if args.list:
        print((markdown_table if args.markdown else plain_table)(preset_table()))
        return 0
    given = {name: value for name, value in vars(args).items() if name in KNOBS}
    config = planned(load_run_config(args.config, given, args.preset))
    parallel = config.parallel
    smallest = parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size
    devices = smallest if args.devices is None else args.devices
    config.model.check()
    peak = config.logging.peak_tflops
    if args.tokens is not None and peak is None:
        raise ConfigError("--tokens without --peak-tflops", fix="give the device's dense 16-bit peak, 312 for an A100")
    speed = None if peak is None else Speed(peak * 1e12, args.mfu)
    print(model_report(config, devices, speed, args.tokens))
    print(f"\n{_saving(config, args)}")
    if parallel.pipeline_model_parallel_size > 1 or args.draw_schedule is not None:
        report_pipeline(config, devices, args.draw_schedule)
    return 0


def _saving(config: RunConfig, args: argparse.Namespace) -> str:
    from steel_megatron.plan.saving import saving_line, write_speed

    if args.save is not None:
        return saving_line(config, write_speed(Path(args.save)), f"one process, measured in {args.save}")
    return saving_line(config, args.save_speed * 1e9, "--save-speed; --save DIR measures it")


def report_pipeline(config: RunConfig, devices: int, file: str | None) -> None:
    """Prints how the model runs through its pipeline, and draws it into a file if one is named."""
    from steel_megatron.plan.pipeline import pipeline_report, pipeline_timeline
    from steel_megatron.reports.schedule_figure import picture

    timeline = pipeline_timeline(config, devices)
    print(f"\n{pipeline_report(config, timeline)}")
    if file is not None:
        picture(timeline).save(file)
        print(f"drawn: {file}")


def parse_count(text: str, flag: str) -> float:
    """``1T`` → 1e12; also K, M, B (or G), and plain numbers."""
    number, unit = (text[:-1], text[-1].upper()) if text and text[-1].upper() in UNITS else (text, "")
    try:
        return float(number) * UNITS.get(unit, 1.0)
    except ValueError:
        raise ConfigError(
            f"{flag} {text}", rule="a number above 0, with K, M, B or T behind it if wanted", fix="for example 300B"
        ) from None
