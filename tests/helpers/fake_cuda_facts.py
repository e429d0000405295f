"""Facts of steps on the fake device, as JSON. Run as a program with a JSON list of [knobs, processes] and a folder."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from unittest import mock

from fake_cuda import guard

guard.load()

from fake_cuda.rank import fake_rank  # noqa: E402
from fake_cuda.stand_ins import FakeGPU  # noqa: E402
from helpers.traced_steps import config_of, dataset, traced  # noqa: E402
from steel_megatron.parallel import collectives  # noqa: E402


def main() -> int:
    warnings.filterwarnings("ignore")
    runs, data = json.loads(sys.argv[1]), dataset(Path(sys.argv[2]))
    found = []
    # Host tensors travel by other collectives than those of a device: these are compared with real ones over gloo.
    with mock.patch.object(collectives, "_host", return_value=True):
        for knobs, processes in runs:
            ranks = []
            for rank in range(processes):
                with fake_rank(config_of(knobs, "cuda"), rank, processes, FakeGPU(), data) as (trainer, recorder):
                    ranks.append(traced(trainer, recorder))
            found.append(ranks)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
