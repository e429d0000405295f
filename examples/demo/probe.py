"""Trains a few steps in each precision, one after the other; every process of torchrun runs this.

The main process appends a line to ``SAVE/ended.jsonl`` for each precision that came to its end; the seconds of the
steps stand in ``SAVE/PRECISION/metrics.jsonl``. choose_run.py starts it, and reads both.

Usage: torchrun … examples/demo/probe.py --precisions fp32 bf16 --save DIR --config FILE [flags of steel train]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from steel_megatron.config import KNOBS, add_run_flags, check_run, load_run_config
from steel_megatron.parallel.processes.launch import initialize, shutdown
from steel_megatron.training.run import run, set_up_logging
from steel_megatron.training.startup.vocabulary import run_tokenizer


def main() -> int:
    """Leaves without taking the interpreter apart, as ``steel train`` does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precisions", nargs="+", required=True, help="what to try, in this order")
    add_run_flags(parser)
    args = parser.parse_args()
    given = {name: value for name, value in vars(args).items() if name in KNOBS}
    grid = None
    for precision in args.precisions:
        begun = time.time()
        folder = Path(args.save) / precision
        config = load_run_config(args.config, {**given, "precision": precision, "save": str(folder)}, args.preset)
        check_run(config, int(os.environ["WORLD_SIZE"]))
        set_up_logging(rank=1)  # warnings only
        grid = grid or initialize(config.parallel, config.training.device)
        run(config, grid, run_tokenizer(config), time.monotonic())
        if grid.world.rank == 0:
            stepped = (folder / "metrics.jsonl").stat().st_mtime  # then the checkpoint was begun
            line = {"precision": precision, "begun": begun, "stepped": stepped, "ended": time.time()}
            with open(Path(args.save) / "ended.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
