"""What a CUDA graph of a micro-batch cannot hold."""

from __future__ import annotations

from steel_megatron.config.errors import ConfigError
from steel_megatron.config.run import RunConfig


def check_cuda_graph(config: RunConfig, world_size: int) -> None:
    """Raises :class:`ConfigError` where ``--enable-cuda-graph`` cannot be right."""
    training, parallel = config.training, config.parallel
    if not training.enable_cuda_graph:
        return
    tp, pp = parallel.tensor_model_parallel_size, parallel.pipeline_model_parallel_size

    def refuse(given: str, rule: str, fix: str) -> None:
        raise ConfigError(f"--enable-cuda-graph {given}", rule=rule, fix=f"{fix}, or leave out --enable-cuda-graph")

    if training.device == "cpu":
        refuse("with --device cpu", "a CUDA graph needs a GPU", "use --device cuda")
    if tp > 1 or pp > 1:
        refuse(
            f"with tensor {tp} × pipeline {pp}",
            "a graph holds the forward and backward pass of a micro-batch, and no messages between ranks",
            "use data parallel alone",
        )
    if config.data.reset_attention_mask:
        refuse(
            "with --reset-attention-mask",
            "every micro-batch has the graph's shapes; the number and lengths of documents differ",
            "let attention cross documents",
        )
    if training.fp8_format is not None or training.transformer_impl != "local":
        refuse(
            "with --fp8-format or --transformer-impl transformer_engine",
            "what a step keeps of 8-bit weights and scales on the host is not part of a graph",
            "use bf16 with --transformer-impl local",
        )
    if world_size > 1 and (parallel.overlap_grad_reduce or parallel.overlap_param_gather):
        refuse(
            f"with overlapped communication on {world_size} data-parallel ranks",
            "gradients are reduced and parameters gathered between graphs: nothing in a graph starts or awaits them",
            "give --no-overlap-grad-reduce --no-overlap-param-gather",
        )
