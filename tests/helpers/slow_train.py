"""``steel train`` with steps and saves that take time: python slow_train.py STEP_SECONDS SAVE_SECONDS FLAGS…"""

from __future__ import annotations

import sys
import time
from typing import Any

from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.cli.main import main
from steel_megatron.training.loop import Trainer


def slowed(owner: type, name: str, seconds: float) -> None:
    original = getattr(owner, name)

    def slow(*args: Any) -> Any:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:  # a signal's handler runs at once, the step goes on
            time.sleep(left)
        return original(*args)

    setattr(owner, name, slow)


if __name__ == "__main__":
    step_seconds, save_seconds = map(float, sys.argv[1:3])
    slowed(Trainer, "train_step", step_seconds)
    slowed(CheckpointStore, "_write", save_seconds)
    sys.exit(main(["train", *sys.argv[3:]]))
