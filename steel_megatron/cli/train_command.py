"""Pretrain a model. One process: steel train …; several: torchrun --nproc-per-node N -m steel_megatron train …"""

from __future__ import annotations

import argparse

from steel_megatron.config import KNOBS, add_run_flags, load_run_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_flags(parser)


def run(args: argparse.Namespace) -> int:
    from steel_megatron.training.run import train

    given = {name: value for name, value in vars(args).items() if name in KNOBS}
    train(load_run_config(args.config, given, args.preset))
    return 0
