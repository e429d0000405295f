"""What a model takes: parameters, and memory per device, counted from the code that builds it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from steel_megatron.config import ModelConfig, ParallelConfig, TrainingConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.parallel.mesh import Mesh
from steel_megatron.parallel.spec import param_dtype, parameters_with_spec, spec_of

FP32 = 4  # bytes


@dataclass(frozen=True)
class Parameters:
    """Elements by module, without the vocabulary's padding; a tied head counts once, as embedding."""

    embedding: int
    attention: int
    mlp: int
    norms: int
    head: int
    padding: int  # rows of the vocabulary that are there for the layout only

    @property
    def total(self) -> int:
        return self.embedding + self.attention + self.mlp + self.norms + self.head

    @property
    def without_embedding(self) -> int:
        """What Kaplan's and Chinchilla's N counts: no embedding, no head of its own."""
        return self.total - self.embedding - self.head


def count_parameters(config: ModelConfig) -> Parameters:
    """Builds the model without memory (on the meta device) and counts."""
    counts = dict.fromkeys(("embedding", "attention", "mlp", "norms", "head", "padding"), 0)
    model = GPT(config, Mesh.single(), dtype=torch.bfloat16, device="meta")
    for parameter in parameters_with_spec([model]):
        for piece in spec_of(parameter).pieces:
            rows = piece.shape[0] if piece.rows is None else piece.rows
            row = math.prod(piece.shape[1:])
            counts[_module_of(piece.name)] += rows * row
            counts["padding"] += (piece.shape[0] - rows) * row
    return Parameters(**counts)


def _module_of(name: str) -> str:
    parts = name.split(".")
    if parts[0] in ("embedding", "position_embedding"):
        return "embedding"
    if parts[0] == "head":
        return "head"
    if any(part.endswith("norm") for part in parts):
        return "norms"
    return parts[2]


@dataclass(frozen=True)
class Memory:
    """Bytes per device of a data-parallel run."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


def estimate_memory(config: ModelConfig, training: TrainingConfig, parallel: ParallelConfig, dp: int) -> Memory:
    """What weights, fp32 gradients, optimizer (masters and two moments) and kept activations take.

    The allocator's fragmentation, communication buffers and the libraries' workspaces come on top: some GB on a GPU.
    """
    parameters = count_parameters(config)
    elements = parameters.total + parameters.padding
    width = param_dtype(training.precision).itemsize
    sharded = parallel.use_distributed_optimizer is not False and dp > 1
    states = 2 * FP32 + (FP32 if width < FP32 else 0)
    grads = FP32 if training.accumulate_allreduce_grads_in_fp32 else width
    return Memory(
        weights=elements * width,
        gradients=elements * grads,
        optimizer=elements * states // (dp if sharded else 1),
        activations=activation_elements(config, training.recompute_granularity)
        * training.micro_batch_size
        * training.seq_length
        * width,
    )


def activation_elements(config: ModelConfig, recompute: str) -> int:
    """Elements that the forward pass keeps per token for the backward pass.

    Per block: four rows of the residual stream's width (the inputs of both norms and their outputs); queries, keys and
    values as projected; queries and keys as rotated (or normalised); the attention's output; three (gated) or two rows
    of the MLP's width. Full recomputation keeps one row per block and one whole block; selective gives up what lies
    between the projections. At the end two rows and the logits.
    """
    assert config.vocab_size is not None
    hidden = config.hidden_size
    queries, keys = config.num_attention_heads * config.head_dim, config.query_groups * config.head_dim
    projections = 4 * hidden + queries + 2 * keys + queries + (3 if config.gated else 2) * config.ffn_hidden_size
    core = queries + keys if config.position_embedding_type == "rope" or config.qk_layernorm else 0
    block = projections + core
    blocks = {
        "none": config.num_layers * block,
        "selective": config.num_layers * projections + core,
        "full": config.num_layers * hidden + block,
    }[recompute]
    return blocks + 2 * hidden + config.padded_vocab_size()
