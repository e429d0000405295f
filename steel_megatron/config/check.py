"""Combinations of values that cannot work, found before any process starts work."""

from __future__ import annotations

from steel_megatron.config.activations import is_gated
from steel_megatron.config.check_cuda_graph import check_cuda_graph
from steel_megatron.config.check_precision import check_precision
from steel_megatron.config.errors import ConfigError
from steel_megatron.config.layer_types import check_layer_types
from steel_megatron.config.load import check_ranges
from steel_megatron.config.logging import LoggingConfig
from steel_megatron.config.model import ModelConfig
from steel_megatron.config.parallel import ParallelConfig
from steel_megatron.config.run import KNOBS, RunConfig
from steel_megatron.config.sample_ranges import parse_ranges
from steel_megatron.config.training import RECOMPUTE_MODULES, TrainingConfig


def check_model(model: ModelConfig) -> None:
    """Raises :class:`ConfigError` for a shape that cannot be built."""
    check_ranges(model)
    is_gated(model.activation)
    heads, groups = model.num_attention_heads, model.query_groups
    if model.kv_channels is None and model.hidden_size % heads:
        raise ConfigError(
            f"hidden size {model.hidden_size} with {heads} heads",
            rule="the hidden size is a multiple of --num-attention-heads unless --kv-channels gives the head size",
            fix=f"use a multiple of {heads}, or set --kv-channels",
        )
    if heads % groups:
        raise ConfigError(
            f"{heads} query heads in {groups} groups",
            rule="--num-query-groups divides --num-attention-heads",
            fix=f"choose one of {_divisors(heads)}",
        )
    if model.position_embedding_type == "rope" and int(model.head_dim * model.rotary_percent) % 2:
        raise ConfigError(
            f"RoPE over {int(model.head_dim * model.rotary_percent)} of {model.head_dim} channels",
            rule="RoPE rotates pairs: the number is even",
            fix="change --rotary-percent or the head size",
        )
    _check_rope_scaling(model)
    check_layer_types(model)


def _check_rope_scaling(model: ModelConfig) -> None:
    """The two ends of what a scaling leaves as it is and stretches in full."""
    kind = model.rope_scaling_type
    ends = {
        "llama3": ("rope_scaling_low_freq_factor", "rope_scaling_high_freq_factor"),
        "yarn": ("rope_scaling_beta_slow", "rope_scaling_beta_fast"),
    }.get(kind)
    if ends is not None and getattr(model, ends[0]) >= getattr(model, ends[1]):
        flags = [f"--{name.replace('_', '-')}" for name in ends]
        raise ConfigError(
            f"{flags[0]} {getattr(model, ends[0])} and {flags[1]} {getattr(model, ends[1])}",
            rule=f"in {kind} scaling the former is below the latter",
            fix="lower the former",
        )


def check_layout(model: ModelConfig, parallel: ParallelConfig, world_size: int) -> None:
    """Raises :class:`ConfigError` for a rank grid that does not fit the machine or the model."""
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size
    check_ranges(parallel)
    if world_size % (tp * pp):
        raise ConfigError(
            f"{world_size} processes for tensor {tp} × pipeline {pp}",
            rule="the number of processes is a multiple of tensor × pipeline",
            fix=f"start a multiple of {tp * pp} processes (torchrun --nproc-per-node), or shrink the layout",
        )
    if model.num_attention_heads % tp:
        raise ConfigError(
            f"{model.num_attention_heads} heads over {tp} tensor-parallel ranks",
            rule="--tensor-model-parallel-size divides --num-attention-heads",
            fix=f"choose one of {_divisors(model.num_attention_heads)}",
        )
    if model.ffn_hidden_size % tp:
        raise ConfigError(
            f"ffn hidden size {model.ffn_hidden_size} over {tp} tensor-parallel ranks",
            rule="--tensor-model-parallel-size divides --ffn-hidden-size",
            fix=f"choose one of {_divisors(model.ffn_hidden_size)}",
        )
    if model.query_groups % tp and tp % model.query_groups:
        raise ConfigError(
            f"{model.query_groups} key/value heads over {tp} tensor-parallel ranks",
            rule="one of the two divides the other",
            fix="change --tensor-model-parallel-size or --num-query-groups",
        )


def check_pipeline(parallel: ParallelConfig) -> None:
    """Raises :class:`ConfigError` for pipeline options that contradict one another."""
    chunked = parallel.num_layers_per_virtual_pipeline_stage is not None
    if parallel.pipeline_model_parallel_size == 1 and (chunked or parallel.pipeline_layout not in ("auto", "even")):
        raise ConfigError(
            "--num-layers-per-virtual-pipeline-stage or --pipeline-layout without pipeline stages",
            rule="they say how layers are shared among stages",
            fix="set --pipeline-model-parallel-size, or leave them out",
        )
    if parallel.pipeline_schedule == "interleaved" and not chunked and parallel.pipeline_model_parallel_size > 1:
        raise ConfigError(
            "--pipeline-schedule interleaved with one chunk per rank",
            rule="interleaving needs several chunks per rank",
            fix="set --num-layers-per-virtual-pipeline-stage, or use 1f1b",
        )


def check_run(config: RunConfig, world_size: int = 1) -> RunConfig:
    """Checks everything that can be known without data, tokenizer or GPU.

    Returns:
        The run with what follows from the number of processes: the global batch, where it is not given.
    """
    check_model(config.model)
    check_layout(config.model, config.parallel, world_size)
    training = config.training
    check_ranges(training, config.optimizer, config.data, config.checkpoint, config.logging)
    _check_empty_texts(config)
    parallel = config.parallel
    check_pipeline(parallel)
    tp = parallel.tensor_model_parallel_size
    if parallel.sequence_parallel and training.seq_length % tp:
        raise ConfigError(
            f"--seq-length {training.seq_length} with --sequence-parallel over {tp} ranks",
            rule="each tensor-parallel rank holds the same number of positions",
            fix=f"use a multiple of {tp}",
        )
    check_precision(config)
    _check_recompute_modules(training)
    check_cuda_graph(config, world_size)
    dp = world_size // (parallel.tensor_model_parallel_size * parallel.pipeline_model_parallel_size)
    one_pass = training.micro_batch_size * dp
    if training.global_batch_size is None:
        config = config.replace(global_batch_size=one_pass)
        training = config.training
    check_batch(training.global_batch_size or one_pass, training.micro_batch_size, dp, "--global-batch-size")
    if training.rampup_batch_size is not None:
        _check_rampup(config, dp)
    if training.train_iters is None and training.train_samples is None:
        raise ConfigError(
            "no length of the run", rule="a run has a length", fix="give --train-iters or --train-samples"
        )
    if training.train_iters is not None and training.train_samples is not None:
        raise ConfigError(
            "--train-iters and --train-samples together", rule="the length is given once", fix="leave one of them out"
        )
    if training.train_iters is not None and training.rampup_batch_size is not None:
        raise ConfigError(
            "--rampup-batch-size with --train-iters",
            rule="a ramp-up run is measured in samples",
            fix="use --train-samples",
        )
    limited = config.model.position_embedding_type == "learned_absolute"
    if training.seq_length > config.model.max_position_embeddings:
        raise ConfigError(
            f"--seq-length {training.seq_length} with --max-position-embeddings {config.model.max_position_embeddings}",
            rule="a sample is no longer than the positions the model is built for",
            fix="raise --max-position-embeddings" + ("" if limited else " (RoPE has no table: it costs nothing)"),
        )
    _check_schedule(config)
    _check_profile(config.logging)
    _check_attention(config)
    data = config.data
    parse_ranges(data.skip_samples)
    if data.data_path and (data.train_data_path or data.valid_data_path):
        raise ConfigError(
            "--data-path beside --train-data-path or --valid-data-path",
            rule="data is either divided by --split or given apart",
            fix="use one of the two",
        )
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


def _check_empty_texts(config: RunConfig) -> None:
    """An empty path would be the current folder. A shell's variable that is not set gives it, or an empty name."""
    for knob in KNOBS.values():
        value = config.get(knob.name)
        if knob.kind is str and "" in (value if isinstance(value, tuple) else [value]):
            raise ConfigError(
                f"{knob.flag} ''",
                rule="what it names, a path or a name, is not empty",
                fix="give one, or leave it out; a shell's variable that is not set is empty",
            )


def _check_rampup(config: RunConfig, dp: int) -> None:
    training = config.training
    ramp = list(training.rampup_batch_size or ())
    if len(ramp) != 3:
        raise ConfigError(
            f"--rampup-batch-size {ramp}",
            rule="three numbers: START INCREMENT SAMPLES",
            fix="for example --rampup-batch-size 16 16 100000",
        )
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


def _check_schedule(config: RunConfig) -> None:
    optimizer = config.optimizer
    for what in ("lr_warmup", "lr_decay"):
        names = [f"{what}_{unit}" for unit in ("iters", "samples", "tokens", "fraction")]
        given = [name for name in names if getattr(optimizer, name, None)]
        if len(given) > 1:
            raise ConfigError(
                " and ".join("--" + name.replace("_", "-") for name in given),
                rule="the length is given in one unit",
                fix="leave out all but one, in the run file too",
            )
    if optimizer.min_lr > optimizer.lr:
        raise ConfigError(
            f"--min-lr {optimizer.min_lr} above --lr {optimizer.lr}",
            rule="min-lr is at most lr",
            fix="lower --min-lr, or raise --lr",
        )
    if optimizer.lr_warmup_init > optimizer.lr:
        raise ConfigError(
            f"--lr-warmup-init {optimizer.lr_warmup_init} above --lr {optimizer.lr}",
            rule="the warm-up leads up to lr",
            fix="lower --lr-warmup-init",
        )
    training = config.training
    if training.min_loss_scale > training.initial_loss_scale:
        raise ConfigError(
            f"--min-loss-scale {training.min_loss_scale} above --initial-loss-scale {training.initial_loss_scale}",
            rule="the first loss scale is no lower than the lowest",
            fix="lower --min-loss-scale",
        )


def _check_profile(logging: LoggingConfig) -> None:
    if logging.profile and logging.profile_step_end <= logging.profile_step_start:
        raise ConfigError(
            f"--profile-step-start {logging.profile_step_start} --profile-step-end {logging.profile_step_end}",
            rule="profiling ends at a later step than it begins",
            fix=f"--profile-step-end {logging.profile_step_start + 1} profiles one step",
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


def _divisors(number: int) -> str:
    return ", ".join(str(i) for i in range(1, number + 1) if number % i == 0)


def _check_recompute_modules(training: TrainingConfig) -> None:
    for module in training.recompute_modules:
        if module not in RECOMPUTE_MODULES:
            raise ConfigError(
                f"--recompute-modules {module}",
                rule=f"each is one of {', '.join(RECOMPUTE_MODULES)}",
                fix="--recompute-granularity full gives up whole blocks",
            )
