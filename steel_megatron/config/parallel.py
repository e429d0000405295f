"""How the run is spread over processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steel_megatron.config.choices import DistributedBackend
from steel_megatron.config.errors import ConfigError
from steel_megatron.config.knob import knob
from steel_megatron.config.ranges import COUNT, above
from steel_megatron.config.registry import Registry
from steel_megatron.config.section import Section

# An entry is a Recipe (parallel/pipeline/schedules.py): each rank's passes in order, and the graphs that it keeps.
PIPELINE_SCHEDULES: Registry[Any] = Registry(
    "pipeline schedule",
    "steel_megatron.pipeline_schedules",
    {
        "gpipe": "steel_megatron.parallel.pipeline.schedules:GPIPE",
        "1f1b": "steel_megatron.parallel.pipeline.schedules:ONE_F_ONE_B",
        "interleaved": "steel_megatron.parallel.pipeline.schedules:INTERLEAVED",
    },
    wanted="a Recipe",
    fits=lambda thing: callable(getattr(thing, "order", None)) and callable(getattr(thing, "peak", None)),
)


@dataclass(frozen=True)
class ParallelConfig(Section):
    """The rank grid and how gradients and parameters travel over it."""

    tensor_model_parallel_size: int = knob(1, "Ranks that share each layer's matrices.", allowed=COUNT)
    pipeline_model_parallel_size: int = knob(1, "Pipeline stages.", allowed=COUNT)
    pipeline_schedule: str = knob(
        "1f1b",
        "Order of forward and backward passes; 1f1b with several chunks per rank is interleaved.",
        choices=PIPELINE_SCHEDULES,
    )
    num_layers_per_virtual_pipeline_stage: int | None = knob(
        None,
        "Layers of a chunk; a rank has several chunks, for the interleaved schedule. Unset: one chunk.",
        allowed=COUNT,
    )
    pipeline_layout: str = knob(
        "auto", "Layers per chunk: auto (by FLOPs, with the head weighed), even, or numbers in forward order as 5,6,7."
    )
    sequence_parallel: bool = knob(False, "Split activations over the sequence between tensor-parallel regions.")
    overlap_tensor_parallel: bool = knob(
        True, "Run tensor-parallel communication of the backward pass beside the weight-gradient matmuls."
    )
    rank_order: str = knob("tp-dp-pp", "Fastest-varying axis first; tensor parallel stays inside the node.")
    use_distributed_optimizer: bool | None = knob(
        None, "Shard optimizer state over data-parallel ranks (ZeRO-1); on when there is more than one."
    )
    overlap_grad_reduce: bool = knob(True, "Reduce gradient buckets while the backward pass runs.")
    overlap_param_gather: bool = knob(True, "Gather updated parameters while the next forward pass runs.")
    bucket_size: int = knob(25_000_000, "Gradient elements reduced in one message.", unit="elements", allowed=COUNT)
    distributed_backend: DistributedBackend = knob("auto", "Communication library; auto: nccl with GPUs, gloo without.")
    distributed_timeout_minutes: float = knob(
        10.0, "A collective that takes longer fails the run.", unit="minutes", allowed=above(0, most=525_600)
    )

    def check(self) -> None:
        super().check()
        chunked = self.num_layers_per_virtual_pipeline_stage is not None
        if self.pipeline_model_parallel_size == 1 and (chunked or self.pipeline_layout not in ("auto", "even")):
            raise ConfigError(
                "--num-layers-per-virtual-pipeline-stage or --pipeline-layout without pipeline stages",
                rule="they say how layers are shared among stages",
                fix="set --pipeline-model-parallel-size, or leave them out",
            )
        if self.pipeline_schedule == "interleaved" and not chunked and self.pipeline_model_parallel_size > 1:
            raise ConfigError(
                "--pipeline-schedule interleaved with one chunk per rank",
                rule="interleaving needs several chunks per rank",
                fix="set --num-layers-per-virtual-pipeline-stage, or use 1f1b",
            )
