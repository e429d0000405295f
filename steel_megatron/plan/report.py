"""Tables of ``steel plan``: the presets side by side, and one model in detail."""

from __future__ import annotations

from dataclasses import dataclass

from steel_megatron.config import RunConfig, load_run_config, preset_names
from steel_megatron.config.layer_types import DENSE, FULL
from steel_megatron.jobs.tables import plain_table
from steel_megatron.model.block_cost import block_flops, block_kept, block_parameters
from steel_megatron.model.cost import total_bytes
from steel_megatron.model.flops import FORMULA, model_flops
from steel_megatron.model.recompute import Recompute
from steel_megatron.parallel.parameter import param_dtype
from steel_megatron.plan.activations import run_sizes
from steel_megatron.plan.memory import estimate_memory
from steel_megatron.plan.size import count_parameters

GB = 1e9
DEMO_VOCABULARY = 8000  # presets without a vocabulary of their own take it from the data

COLUMNS = (
    "preset",
    "layers",
    "hidden",
    "ffn",
    "heads (kv) × size",
    "vocabulary",
    "parameters",
    "without embedding and head",
    "GFLOP/token (causal)",
    "weights + optimizer, 1 device",
    "per device of 8",
)


@dataclass(frozen=True)
class Speed:
    """The dense peak of a device in FLOP/s, and the share of it that is used."""

    peak: float
    mfu: float


def preset_table() -> list[list[str]]:
    """A row per preset: shape, parameters, FLOPs per token, and memory on one device and on eight (ZeRO-1)."""
    rows = [list(COLUMNS)]
    for name in preset_names():
        config = planned(load_run_config(preset=name))
        model = config.model
        parameters, flops = count_parameters(model), model_flops(model, config.training.seq_length)
        one, eight = (estimate_memory(config, devices) for devices in (1, 8))
        rows.append(
            [
                name,
                str(model.num_layers),
                f"{model.hidden_size:,}",
                f"{model.ffn_hidden_size:,}",
                f"{model.num_attention_heads} ({model.query_groups}) × {model.head_dim}",
                f"{model.vocab_size:,}",
                f"{parameters.total:,}",
                f"{parameters.without_embedding:,}",
                f"{flops.total / GB:.2f} ({flops.total_causal / GB:.2f})",
                f"{one.states / GB:.1f} GB",
                f"{eight.states / GB:.1f} GB",
            ]
        )
    return rows


def planned(config: RunConfig) -> RunConfig:
    """The configuration with a vocabulary, so that it can be counted."""
    return config.replace(vocab_size=config.model.vocab_size or DEMO_VOCABULARY)


def model_report(config: RunConfig, devices: int, speed: Speed | None, tokens: float | None) -> str:
    """One model in detail: parameters and FLOPs by module, memory per device, and how long tokens take."""
    model, training = config.model, config.training
    parameters, flops = count_parameters(model), model_flops(model, training.seq_length)
    per_module = {
        "attention": (parameters.attention, flops.attention_projections),
        "mlp": (parameters.mlp, flops.mlp),
        "embedding": (parameters.embedding, 0.0),
        "head": (parameters.head, flops.head),
        "norms": (parameters.norms, 0.0),
        "attention to all keys": (0, flops.attention_all_keys),
    }
    rows = [["module", "parameters", "MFLOP/token"]]
    rows += [[name, f"{count:,}", f"{cost / 1e6:,.1f}"] for name, (count, cost) in per_module.items()]
    rows.append(["total", f"{parameters.total:,}", f"{flops.total / 1e6:,.1f}"])
    lines = [
        plain_table(rows),
        "",
        *layer_lines(config),
        f"{FORMULA}; sequence length {training.seq_length:,}. Causal: {flops.total_causal / 1e6:,.1f} MFLOP/token."
        + (" The head's weights are the embedding's." if model.tied else "")
        + (f" Padding of the vocabulary: {parameters.padding:,} parameters." if parameters.padding else ""),
        "",
        *memory_lines(config, devices),
    ]
    if speed is not None:
        rate = speed.peak * speed.mfu / flops.total
        lines += ["", f"at {speed.mfu:.0%} MFU of {speed.peak / 1e12:g} TFLOP/s: {rate:,.0f} tokens/s per device"]
        if tokens is not None:
            days = tokens / (rate * devices) / 86400
            lines.append(f"{tokens:.3g} tokens on {devices} devices: {days:,.1f} days")
    return "\n".join(lines)


def layer_lines(config: RunConfig) -> list[str]:
    """A row per kind of layer, where there is another than a dense one with full attention; else nothing."""
    model, training = config.model, config.training
    kinds = list(zip(model.attention_kinds, model.feed_forward_kinds, strict=True))
    if set(kinds) == {(FULL, DENSE)}:
        return []
    width, sizes = param_dtype(training.precision).itemsize, run_sizes(config)
    rows = [["layers of", "number", "parameters each", "MFLOP/token each (causal)", "kept per token"]]
    for kind in dict.fromkeys(kinds):
        layer = kinds.index(kind)
        flops = block_flops(model, layer, training.seq_length)
        kept = total_bytes(block_kept(model, layer, sizes, Recompute.of(training)), width)
        rows.append(
            [
                ", ".join(kind),
                str(kinds.count(kind)),
                f"{block_parameters(model, layer).total():,}",
                f"{flops.total / 1e6:,.1f} ({flops.total_causal / 1e6:,.1f})",
                f"{kept:,.0f} bytes",
            ]
        )
    return [plain_table(rows), ""]


def memory_lines(config: RunConfig, devices: int) -> list[str]:
    """What the fullest device of a layout holds."""
    training, parallel = config.training, config.parallel
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    dp = devices // (tp * pp)
    memory = estimate_memory(config, devices)
    where = f"memory per device of {devices}"
    if tp * pp > 1:
        where += f" = tensor {tp} × data {dp} × pipeline {pp}"
    if pp > 1:
        where += f", on pipeline rank {memory.pipeline_rank}, the fullest"
    parts = {
        "weights": memory.weights,
        "gradients": memory.gradients,
        "masters": memory.masters,
        "moments": memory.moments,
        "activations kept": memory.activations,
        "temporaries": memory.working,
    }
    rows = [[name, f"{count / GB:.2f} GB"] for name, count in parts.items()]
    return [
        f"{where} (micro-batch {training.micro_batch_size} × {training.seq_length:,} tokens, "
        f"{training.precision}, recomputation {training.recompute_granularity}):",
        plain_table([*rows, ["total", f"{memory.total / GB:.2f} GB, and the libraries' own buffers"]]),
    ]
