"""What a training step would cost on GPUs, from a trace of the real step on a fake device: no GPU is needed.

    python benchmarks/gpu_trace.py --preset steel_1b --card a100-80g --layout dp8
    python benchmarks/gpu_trace.py --config examples/pretrain_1b/steel_1b.yaml --card h100 --layout dp8 --json step.json

The trainer's own step runs on FakeTensors, one rank per pipeline stage. Each operation is priced twice. At the card's
roofs: matmuls and attention by FLOP/s, all else by what it reads and writes; no step is faster. As expected: attention
at what published kernels reach. Prices, their sources and what rests on estimates: docs/gpu.md. It needs a CPU build of
torch and g++.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from fake_cuda import guard  # before torch is imported
from fake_cuda.guard import GuardError


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what runs")
    what.add_argument("--preset", help="a shipped model: steel_1b (default), tinyllama_1.1b, qwen3_0.6b, llama3.2_1b …")
    what.add_argument("--config", type=Path, help="a run's YAML file, as examples/pretrain_1b/steel_1b.yaml")
    what.add_argument("--layout", default="dp8", help="tp2,pp2,dp2; also sp, vppN, mbsN, full, selective, nozero")
    what.add_argument("--micro-batch-size", type=int, metavar="B", help="samples of a micro-batch (default: 8)")
    what.add_argument(
        "--global-batch-size", type=int, metavar="B", help="samples of a step (default: the config's, else 1024)"
    )
    what.add_argument("--seq-length", type=int, metavar="S", help="tokens of a sample")
    what.add_argument("--num-layers", type=int, metavar="L", help="another depth, for a quick look")
    what.add_argument("--kernel-backend", default="auto", help="as of steel train: auto, steel or torch")
    what.add_argument("--precision", choices=("bf16", "fp16"), help="type of weights and activations")
    what.add_argument("--fp8-format", choices=("hybrid", "e4m3"), help="8-bit matmuls in the blocks")
    what.add_argument("--packed", action="store_true", help="documents attend within themselves")
    what.add_argument("--compile", action="store_true", help="--compile-blocks: torch.compile fuses")
    out = parser.add_argument_group("what it costs")
    out.add_argument("--card", default="a100-80g", help="a100-80g (default), h100 …; list: all, with their figures")
    out.add_argument("--top", type=int, default=12, metavar="N", help="operations to show (default: 12)")
    out.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    return parser


def main() -> int:
    args = parser().parse_args()
    try:
        guard.load()
    except GuardError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from fake_cuda.command import run

    return run(args)


if __name__ == "__main__":
    sys.exit(main())
