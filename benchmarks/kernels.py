"""Each compiled kernel beside torch's operation, torch.compile and a copy, in one run.

    python benchmarks/kernels.py [--device cpu|cuda] [--tokens N] [--hidden N] [--vocab-size N] [--json FILE]

Contenders take turns and the fastest round counts: what makes a round slower is other programs. GB/s counts the bytes
that an operation must read and write at least once; "of copy" is that against copying a tensor as large as the MLP's
input, in the same run. Forward operations run without autograd; "backward" is the backward pass alone.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.optim.adamw import adamw

from steel_megatron.ops.native import activation, cross_entropy, library, norm, optimizer, rope

Call = Callable[[], object]


@dataclass
class Case:
    """An operation: its calls by contender, and the bytes that it has to move."""

    name: str
    moved: int
    calls: dict[str, Call] = field(default_factory=dict)


def backward_of(function: Callable[..., Any], inputs: list[Tensor], grad: Tensor) -> Call:
    """The backward pass of a function's first output."""
    leaves = [tensor.detach().requires_grad_() for tensor in inputs]
    output = function(*leaves)
    output = output[0] if isinstance(output, tuple) else output
    return lambda: torch.autograd.grad(output, leaves, grad, retain_graph=True)


def add_function(
    cases: list[Case], name: str, inputs: list[Tensor], contenders: dict[str, Callable[..., Any]], output_bytes: int
) -> None:
    """Forward and backward of a differentiable function."""
    sizes = sum(tensor.nbytes for tensor in inputs)
    with torch.no_grad():
        first = next(iter(contenders.values()))(*inputs)
    grad = torch.randn_like(first[0] if isinstance(first, tuple) else first)
    forward, backward = Case(name, sizes + output_bytes), Case(f"{name}, backward", 2 * sizes + grad.nbytes)
    for contender, function in contenders.items():
        forward.calls[contender] = lambda function=function: function(*inputs)
        backward.calls[contender] = backward_of(function, inputs, grad)
    cases += [forward, backward]


def cases_of(device: str, tokens: int, hidden: int, ffn: int, vocab: int, dtype: torch.dtype) -> list[Case]:
    """All operations at one shape."""
    make = {"device": device, "dtype": dtype}
    x, residual, weight = (
        torch.randn(tokens, hidden, **make),
        torch.randn(tokens, hidden, **make),
        torch.ones(hidden, **make),
    )
    gate_up, copied = torch.randn(tokens, 2 * ffn, **make), torch.empty(tokens, 2 * ffn, **make)
    cases = [Case("copy", 2 * gate_up.nbytes, {"torch": lambda: copied.copy_(gate_up)})]

    def rms(x: Tensor, w: Tensor) -> Tensor:
        return F.rms_norm(x, w.shape, w, 1e-5)

    def add_rms(x: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        total = x + r
        return rms(total, w), total

    def gated(gu: Tensor) -> Tensor:
        gate, up = gu.chunk(2, -1)
        return F.silu(gate) * up

    add_function(
        cases,
        "RMSNorm",
        [x, weight],
        {"steel": lambda x, w: norm.rms_norm(x, w, 1e-5), "torch": rms, "compile": torch.compile(rms)},
        x.nbytes,
    )
    add_function(
        cases,
        "add + RMSNorm",
        [x, residual, weight],
        {
            "steel": lambda x, r, w: norm.add_rms_norm(x, r, w, 1e-5),
            "torch": add_rms,
            "compile": torch.compile(add_rms),
        },
        2 * x.nbytes,
    )
    heads = x.view(1, tokens, -1, 64 if hidden % 64 == 0 else 32)
    angles = torch.randn(1, tokens, 1, heads.shape[-1] // 2, device=device)
    cosine, sine = angles.cos(), angles.sin()

    def rotated(x: Tensor) -> Tensor:
        first, second = x.float().chunk(2, -1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1).to(x.dtype)

    rotations: dict[str, Callable[..., Any]] = {
        "steel": lambda x: rope.rope(x, cosine, sine, False),
        "torch": rotated,
        "compile": torch.compile(rotated),
    }
    add_function(cases, "RoPE", [heads], rotations, x.nbytes)
    swiglu: dict[str, Callable[..., Any]] = {
        "steel": activation.swiglu,
        "torch": gated,
        "compile": torch.compile(gated),
    }
    add_function(cases, "SwiGLU", [gate_up], swiglu, gate_up.nbytes // 2)
    return [*cases, *cross_entropy_cases(tokens, vocab, make), *optimizer_cases(device, hidden, ffn)]


def cross_entropy_cases(tokens: int, vocab: int, make: dict[str, Any]) -> list[Case]:
    logits = torch.randn(tokens, vocab, **make)
    labels = torch.randint(0, vocab, (tokens,), device=logits.device)
    ones = torch.ones(tokens, device=logits.device)
    partition, _ = cross_entropy.cross_entropy_statistics(logits, labels, 0, vocab)
    scratch = logits.clone()

    def torch_loss(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), labels, reduction="none")

    compiled = torch.compile(torch_loss)

    def steel_gradient() -> None:
        # Over what the call before wrote: the time does not depend on the values.
        cross_entropy.cross_entropy_gradient_(scratch, labels, partition, ones, ones, 0, vocab)

    return [
        Case(
            "cross entropy",
            logits.nbytes,
            {
                "steel": lambda: cross_entropy.cross_entropy_statistics(logits, labels, 0, vocab),
                "torch": lambda: torch_loss(logits),
                "compile": lambda: compiled(logits),
            },
        ),
        Case(
            "cross entropy, backward",
            2 * logits.nbytes,
            {
                "steel": steel_gradient,
                "torch": backward_of(torch_loss, [logits], ones),
                "compile": backward_of(compiled, [logits], ones),
            },
        ),
    ]


def optimizer_cases(device: str, hidden: int, ffn: int) -> list[Case]:
    """AdamW with bf16 weights beside fp32 masters, and the gradient norm, over the matrices of eight layers."""
    shapes = [(3 * hidden, hidden), (hidden, hidden), (2 * ffn, hidden), (hidden, ffn), (hidden,)] * 8
    masters, grads, exp_avgs = ([torch.randn(shape, device=device) for shape in shapes] for _ in range(3))
    squares = [torch.rand(shape, device=device) for shape in shapes]
    weights = [master.bfloat16() for master in masters]
    steps = [torch.zeros((), device=device) for _ in shapes]
    elements = sum(math.prod(shape) for shape in shapes)

    def steel_step() -> None:
        decays = [True] * len(shapes)
        optimizer.adamw_(weights, masters, grads, exp_avgs, squares, decays, 0.5, 1e-4, 0.9, 0.95, 1e-8, 0.1, 10)

    def torch_step() -> None:
        adamw(
            masters,
            grads,
            exp_avgs,
            squares,
            [],
            steps,
            fused=True,
            grad_scale=torch.full((), 2.0, device=device),
            amsgrad=False,
            beta1=0.9,
            beta2=0.95,
            lr=1e-4,
            weight_decay=0.1,
            eps=1e-8,
            maximize=False,
        )
        for weight, master in zip(weights, masters, strict=True):
            weight.copy_(master)

    return [
        Case("AdamW, fp32 master and bf16 weight", 30 * elements, {"steel": steel_step, "torch": torch_step}),
        Case(
            "gradient norm",
            4 * elements,
            {
                "steel": lambda: optimizer.sum_of_squares(grads).sqrt(),
                "torch": lambda: torch.nn.utils.get_total_norm(grads),
            },
        ),
    ]


def measure(case: Case, device: str, rounds: int) -> dict[str, float]:
    """Fastest seconds of each contender."""
    seconds = dict.fromkeys(case.calls, math.inf)
    for number in range(rounds + 2):
        for name, call in case.calls.items():
            started = time.perf_counter()
            call()
            if device == "cuda":
                torch.cuda.synchronize()
            if number >= 2:
                seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--tokens", type=int, help="default 2048 on a CPU, 16384 on a GPU")
    parser.add_argument("--hidden", type=int, help="default 320 on a CPU, 2048 on a GPU")
    parser.add_argument("--ffn", type=int, help="default 896 on a CPU, 5632 on a GPU")
    parser.add_argument("--vocab-size", type=int, help="default 8192 on a CPU, 32000 on a GPU")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    args = parser.parse_args()
    if not library.built(args.device):
        print(f"the kernels for {args.device} were not built", file=sys.stderr)
        return 1
    defaults = (2048, 320, 896, 8192) if args.device == "cpu" else (16384, 2048, 5632, 32000)
    given = (args.tokens, args.hidden, args.ffn, args.vocab_size)
    shape = [default if value is None else value for value, default in zip(given, defaults, strict=True)]
    card = torch.cuda.get_device_name() if args.device == "cuda" else f"{platform.machine()} CPU"
    about = f"torch {torch.__version__}, {card}, {torch.get_num_threads()} threads, {args.dtype}"
    print(f"`{' '.join(['python', *sys.argv])}`; {about}; tokens, hidden, ffn, vocabulary: {shape}\n")
    print("| operation | steel, ms | torch, ms | torch.compile, ms | against the better | GB/s | of copy |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows, copy_speed = [], 0.0
    for case in cases_of(args.device, *shape, getattr(torch, args.dtype)):
        seconds = measure(case, args.device, args.rounds)
        own = seconds.get("steel", seconds["torch"])
        speed = case.moved / own / 1e9
        copy_speed = copy_speed or speed
        others = [value for name, value in seconds.items() if name != "steel"]
        rows.append({"operation": case.name, "seconds": seconds, "GB/s": speed, "of copy": speed / copy_speed})
        times = [f"{seconds[name] * 1e3:.3f}" if name in seconds else "-" for name in ("steel", "torch", "compile")]
        ratio = f"{min(others) / own:.2f} ×" if "steel" in seconds else "-"
        print(f"| {case.name} | {' | '.join(times)} | {ratio} | {speed:.1f} | {speed / copy_speed:.0%} |")
    if args.json:
        args.json.write_text(json.dumps({"about": about, "shape": shape, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
