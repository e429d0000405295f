"""Tokens per second of a whole training step against transformers with the same shape, in the same run.

    python benchmarks/train_step.py [--preset NAME] [--vocab-size N] [--micro-batch-size N] [--seq-length N]

Each contender does forward, backward, gradient clipping and an AdamW step in bf16; rounds alternate between them, so
that a slow moment of the machine hits all alike. Printed are medians, ratios to the first peer, and each one's peak
memory in a process of its own.

Peers: ``transformers`` LlamaForCausalLM with SDPA, pure bf16 and bf16 autocast over fp32 weights, each with torch's
fused AdamW; with ``--compile`` the former under torch.compile as well. Ours keeps fp32 masters and fp32 gradients;
pure-bf16 transformers keeps neither, so it does less work. Ours runs with torch's operations and with the compiled
kernels of this package.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from steel_megatron.config import RunConfig, load_run_config
from steel_megatron.model.flops import FORMULA, model_flops
from steel_megatron.ops.native import library

Step = Callable[[torch.Tensor], float]


def ours(config: RunConfig, kernels: str) -> Step:
    """The step of the training loop: fp32 masters and gradients, bf16 weights."""
    from steel_megatron.model.gpt import GPT
    from steel_megatron.ops.backends import use_kernel_backend
    from steel_megatron.optim.optimizer import Optimizer
    from steel_megatron.parallel.data import DataParallel
    from steel_megatron.parallel.mesh import Mesh

    mesh = Mesh.single("cuda" if torch.cuda.is_available() else "cpu")
    model = GPT(config.model, mesh, dtype=torch.bfloat16, seed=1)
    data_parallel = DataParallel([model], mesh, shard=False)
    optimizer = Optimizer(data_parallel, config.optimizer, config.training, mesh)

    def step(tokens: torch.Tensor) -> float:
        use_kernel_backend(kernels, mesh.device.type)
        data_parallel.zero_grads()
        data_parallel.last_micro_batch()
        mask = torch.ones_like(tokens[:, 1:], dtype=torch.bool)
        loss = model.loss(tokens[:, :-1], tokens[:, 1:], mask, loss_gradient=1.0)
        scale = 1.0 / tokens[:, 1:].numel()
        loss.backward()
        data_parallel.finish_grads()
        optimizer.step(1e-4, scale)
        return loss.item() * scale

    return step


def transformers_step(config: RunConfig, autocast: bool, compiled: bool = False) -> Step:
    """LlamaForCausalLM of the same shape, SDPA, fused AdamW."""
    from transformers import LlamaConfig, LlamaForCausalLM

    model_config = config.model
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = LlamaConfig(
        vocab_size=model_config.vocab_size,
        hidden_size=model_config.hidden_size,
        intermediate_size=model_config.ffn_hidden_size,
        num_hidden_layers=model_config.num_layers,
        num_attention_heads=model_config.num_attention_heads,
        num_key_value_heads=model_config.query_groups,
        max_position_embeddings=model_config.max_position_embeddings,
        tie_word_embeddings=model_config.tied,
        use_cache=False,
        attn_implementation="sdpa",
    )
    model = LlamaForCausalLM(shape).to(device, torch.float32 if autocast else torch.bfloat16)
    if compiled:
        model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step(tokens: torch.Tensor) -> float:
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            logits = model(input_ids=tokens[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


STEEL = "steel_megatron, --kernel-backend steel"
CONTENDERS: dict[str, Callable[[RunConfig], Step]] = {
    "transformers, bf16": lambda config: transformers_step(config, autocast=False),
    "transformers, bf16 autocast": lambda config: transformers_step(config, autocast=True),
    "transformers, bf16, torch.compile": lambda config: transformers_step(config, autocast=False, compiled=True),
    "steel_megatron, --kernel-backend torch": lambda config: ours(config, "torch"),
    STEEL: lambda config: ours(config, "steel"),
}


def batch(config: RunConfig, seed: int) -> torch.Tensor:
    training = config.training
    assert config.model.vocab_size is not None
    shape = (training.micro_batch_size, training.seq_length + 1)
    tokens = torch.randint(0, config.model.vocab_size, shape, generator=torch.Generator().manual_seed(seed))
    return tokens.cuda() if torch.cuda.is_available() else tokens


def peak_memory(config: RunConfig, name: str) -> float:
    """GB that a process of its own reaches over three steps, above what it had before the model was built."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak, (config, name))


def _peak(config: RunConfig, name: str) -> float:
    import transformers  # noqa: F401 - so that its import is not counted for one contender only

    if torch.cuda.is_available():
        step = CONTENDERS[name](config)
        for i in range(3):
            step(batch(config, i))
        return torch.cuda.max_memory_allocated() / 1e9
    before = _high_water_mark()
    step = CONTENDERS[name](config)
    for i in range(3):
        step(batch(config, i))
    return (_high_water_mark() - before) / 1e9


def _high_water_mark() -> int:
    """Largest resident size of this process so far, in bytes; ru_maxrss would include the parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measure(config: RunConfig, contenders: list[str], rounds: int) -> dict[str, list[float]]:
    """Seconds per step of each contender, in alternating rounds after two warm-up steps."""
    steps: dict[str, Any] = {name: CONTENDERS[name](config) for name in contenders}
    for step in steps.values():
        for i in range(2):
            step(batch(config, i))
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds):
        for name, step in steps.items():
            tokens = batch(config, 100 + i)
            started = time.perf_counter()
            step(tokens)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", help="model preset; default: about 16 M parameters, Llama-style")
    parser.add_argument("--vocab-size", type=int, default=8192, help="default 8192")
    parser.add_argument("--micro-batch-size", type=int, default=4, help="default 4")
    parser.add_argument("--seq-length", type=int, default=512, help="default 512")
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    parser.add_argument("--compile", action="store_true", help="also transformers compiled, which takes minutes")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--peak-tflops", type=float, help="dense 16-bit peak of the device, for MFU")
    args = parser.parse_args()
    config = load_run_config(preset=args.preset)
    if args.preset is None:
        model = config.model
        model.num_layers, model.hidden_size, model.ffn_hidden_size = 8, 320, 896
        model.num_attention_heads, model.num_query_groups = 10, 5
    if args.preset is None or config.model.vocab_size is None:
        config.model.vocab_size = args.vocab_size
    config.training.micro_batch_size, config.training.seq_length = args.micro_batch_size, args.seq_length
    built = library.built("cuda" if torch.cuda.is_available() else "cpu")
    contenders = [n for n in CONTENDERS if (args.compile or "compile" not in n) and (built or n != STEEL)]
    seconds = measure(config, contenders, args.rounds)
    memory = {name: peak_memory(config, name) for name in contenders}
    tokens = args.micro_batch_size * args.seq_length
    flops = model_flops(config.model, args.seq_length)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU"
    print(
        f"\n`{' '.join(['python', *sys.argv])}`; torch {torch.__version__}, {torch.get_num_threads()} threads, {device}"
    )
    print(f"{FORMULA}\n")
    print(
        "| step | tokens/s | against the first | GFLOP/s | MFU | peak memory, GB |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    rows = []
    for name, median in medians.items():
        rate = tokens / median
        mfu = f"{rate * flops.total / (args.peak_tflops * 1e12):.1%}" if args.peak_tflops else "-"
        ratio = statistics.median(a / b for a, b in zip(seconds[next(iter(medians))], seconds[name], strict=True))
        rows.append({"step": name, "tokens/s": rate, "against the first": ratio, "peak memory, GB": memory[name]})
        print(
            f"| {name} | {rate:,.0f} | {ratio:.2f} × | {rate * flops.total / 1e9:,.0f} | {mfu} | {memory[name]:.2f} |"
        )
    if args.json:
        args.json.write_text(json.dumps({"device": device, "torch": torch.__version__, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
