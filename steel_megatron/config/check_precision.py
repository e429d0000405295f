"""Values of 8-bit training that cannot work together."""

from __future__ import annotations

from steel_megatron.config.errors import ConfigError
from steel_megatron.config.model import ModelConfig
from steel_megatron.config.run import RunConfig

MULTIPLE = 16  # of every size of an 8-bit matmul


def check_precision(config: RunConfig) -> None:
    """Raises :class:`ConfigError` for 8-bit matmuls that cannot be."""
    training = config.training
    if training.fp8_format is None:
        if training.fp8_recipe != "tensorwise":
            raise ConfigError(
                f"--fp8-recipe {training.fp8_recipe} without --fp8-format",
                rule="a recipe says how 8-bit tensors are scaled",
                fix="give --fp8-format hybrid, or leave it out",
            )
        return
    if training.precision == "fp32":
        raise ConfigError(
            f"--fp8-format {training.fp8_format} with --precision fp32",
            rule="8-bit matmuls stand in for 16-bit ones",
            fix="use --bf16",
        )
    if training.fp8_recipe == "delayed" and training.transformer_impl == "local":
        raise ConfigError(
            "--fp8-recipe delayed with --transformer-impl local",
            rule="delayed scaling is Transformer Engine's",
            fix="use --fp8-recipe tensorwise, or --transformer-impl transformer_engine",
        )
    if training.transformer_impl == "transformer_engine" and training.recompute_granularity == "full":
        raise ConfigError(
            "--transformer-impl transformer_engine and --fp8-format with --recompute-granularity full",
            rule="Transformer Engine's 8-bit scales are not kept for a block that is computed again",
            fix="use --recompute-granularity selective, or --transformer-impl local",
        )
    tp = config.parallel.tensor_model_parallel_size
    sizes = matmul_sizes(config.model, tp)
    sizes["tokens of a micro-batch"] = training.micro_batch_size * training.seq_length
    odd = [f"{name} {size}" for name, size in sizes.items() if size % MULTIPLE]
    if odd:
        raise ConfigError(
            f"--fp8-format {training.fp8_format} with {', '.join(odd)}"
            + (f" (tensor parallel {tp})" if tp > 1 else ""),
            rule=f"every size of an 8-bit matmul is a multiple of {MULTIPLE}, on each rank",
            fix="change the sizes or the layout, or leave out --fp8-format",
        )


def matmul_sizes(model: ModelConfig, tp: int) -> dict[str, int]:
    """Features of the blocks' linear layers on each of ``tp`` ranks, by name."""
    keys = max(model.query_groups // tp, 1)
    queries = model.num_attention_heads // tp
    return {
        "hidden size": model.hidden_size,
        "query features": queries * model.head_dim,
        "query, key and value features": (queries + 2 * keys) * model.head_dim,
        "ffn hidden size": model.ffn_hidden_size // tp,
    }
