"""Combinations of values of several sections that cannot work, found before any process starts work."""

from __future__ import annotations

from steel_megatron.config.check_cuda_graph import check_cuda_graph
from steel_megatron.config.check_precision import check_precision
from steel_megatron.config.errors import ConfigError
from steel_megatron.config.model import ModelConfig
from steel_megatron.config.parallel import ParallelConfig
from steel_megatron.config.ranges import divisors
from steel_megatron.config.run import RunConfig


def check_layout(model: ModelConfig, parallel: ParallelConfig, world_size: int) -> None:
    """Raises :class:`ConfigError` for a rank grid that does not fit the machine or the model."""
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    parallel.check()
    if world_size % (tp * pp):
        raise ConfigError(
            f"{world_size} processes for tensor {tp} × pipeline {pp}",
            rule="the number of processes is a multiple of tensor × pipeline",
            fix=f"start a multiple of {tp * pp} processes (torchrun --nproc-per-node), or shrink the layout",
        )
    heads, inner = model.num_attention_heads, model.ffn_hidden_size
    for size, words, flag in (
        (heads, f"{heads} heads", "--num-attention-heads"),
        (inner, f"ffn hidden size {inner}", "--ffn-hidden-size"),
    ):
        if size % tp:
            raise ConfigError(
                f"{words} over {tp} tensor-parallel ranks",
                rule=f"--tensor-model-parallel-size divides {flag}",
                fix=f"choose one of {divisors(size)}",
            )
    if model.query_groups % tp and tp % model.query_groups:
        raise ConfigError(
            f"{model.query_groups} key/value heads over {tp} tensor-parallel ranks",
            rule="one of the two divides the other",
            fix="change --tensor-model-parallel-size or --num-query-groups",
        )


def check_run(config: RunConfig, world_size: int = 1) -> RunConfig:
    """Checks everything that can be known without data, tokenizer or GPU.

    Returns:
        The run with what follows from the number of processes: the global batch, where it is not given.
    """
    config.model.check()
    check_layout(config.model, config.parallel, world_size)
    training = config.training
    for section in (training, config.optimizer, config.data, config.checkpoint, config.logging):
        section.check()
    parallel = config.parallel
    tp = parallel.tensor_model_parallel_size
    if parallel.sequence_parallel and training.seq_length % tp:
        raise ConfigError(
            f"--seq-length {training.seq_length} with --sequence-parallel over {tp} ranks",
            rule="each tensor-parallel rank holds the same number of positions",
            fix=f"use a multiple of {tp}",
        )
    check_precision(config)
    check_cuda_graph(config, world_size)
    dp = world_size // (parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size)
    one_pass = training.micro_batch_size * dp
    if training.global_batch_size is None:
        config = config.replace(global_batch_size=one_pass)
        training = config.training
    check_batch(training.global_batch_size or one_pass, training.micro_batch_size, dp, "--global-batch-size")
    if training.rampup_batch_size is not None:
        _check_rampup(config, dp)
    limited = config.model.position_embedding_type == "learned_absolute"
    if training.seq_length > config.model.max_position_embeddings:
        raise ConfigError(
            f"--seq-length {training.seq_length} with --max-position-embeddings {config.model.max_position_embeddings}",
            rule="a sample is no longer than the positions the model is built for",
            fix="raise --max-position-embeddings" + ("" if limited else " (RoPE has no table: it costs nothing)"),
        )
    _check_attention(config)
    return config


def check_batch(global_batch: int, micro_batch: int, dp: int, name: str) -> None:
    """A global batch is a whole number of micro-batches on every data-parallel rank."""
    if global_batch <= 0 or global_batch % (micro_batch * dp):
        lower = max(global_batch // (micro_batch * dp), 1) * micro_batch * dp
        raise ConfigError(
            f"{name} {global_batch} with micro-batch {micro_batch} on {dp} data-parallel ranks",
            rule=f"it is a multiple of micro-batch × data-parallel size = {micro_batch * dp}",
            fix=f"use {lower} or {lower + micro_batch * dp}",
        )


def _check_rampup(config: RunConfig, dp: int) -> None:
    training = config.training
    ramp = list(training.rampup_batch_size or ())
    start, increment, _ = ramp
    check_batch(start, training.micro_batch_size, dp, "--rampup-batch-size START")
    check_batch(increment, training.micro_batch_size, dp, "--rampup-batch-size INCREMENT")
    span = (training.global_batch_size or 0) - start
    if span < 0 or span % increment:
        raise ConfigError(
            f"--rampup-batch-size {ramp} to --global-batch-size {training.global_batch_size}",
            rule="the increments lead from START to the global batch size exactly",
            fix="change START or INCREMENT, so that INCREMENT divides what lies between",
        )


def _check_attention(config: RunConfig) -> None:
    backend, model = config.training.attention_backend, config.model
    if model.attention_dropout and backend not in ("auto", "unfused", "local"):
        raise ConfigError(
            f"--attention-backend {backend} with --attention-dropout {model.attention_dropout}",
            rule="dropout on attention probabilities is counted by element, and fused kernels have none of that kind",
            fix="--attention-dropout 0, or --attention-backend auto",
        )
    if backend not in ("flash2", "flash3", "flash4", "sdpa_flash3", "sdpa_flash4", "cudnn", "fused"):
        return
    if config.training.precision == "fp32":
        raise ConfigError(
            f"--attention-backend {backend} in fp32",
            rule="it takes bf16 and fp16",
            fix="--bf16, or --attention-backend sdpa",
        )
    if model.head_dim > 256 or model.head_dim % 8:
        raise ConfigError(
            f"--attention-backend {backend} with heads of {model.head_dim} channels",
            rule="heads have at most 256 channels, a multiple of 8",
            fix="change --kv-channels, or --attention-backend auto",
        )
