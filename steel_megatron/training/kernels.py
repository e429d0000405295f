"""Which kernels a run uses: what its flags ask for, and the same on every rank."""

from __future__ import annotations

import torch.distributed as dist

from steel_megatron.config import ConfigError, TrainingConfig
from steel_megatron.ops import cpu_products
from steel_megatron.ops.backends import OPERATIONS, chosen, use_attention_backend, use_kernel_backend
from steel_megatron.parallel.mesh import Mesh


def choose_kernels(training: TrainingConfig, mesh: Mesh) -> None:
    """Follows ``--kernel-backend`` and ``--attention-backend``. A collective call.

    Raises:
        ConfigError: what is asked for is not here, or ``auto`` comes to different choices on different ranks.
    """
    use_kernel_backend(training.kernel_backend, mesh.device.type)
    use_attention_backend(training.attention_backend, mesh.device.type)
    if mesh.world.size == 1:
        return
    everywhere: list[dict[str, str]] = [{} for _ in range(mesh.world.size)]
    dist.all_gather_object(everywhere, chosen(mesh.device.type))
    if mesh.device.type == "cpu":
        _agree_on_products(mesh)
    for operation, known in OPERATIONS.items():
        first = everywhere[0][operation]
        for rank, choices in enumerate(everywhere):
            if choices[operation] != first:
                raise ConfigError(
                    f"{known.name}: {first} on rank 0, {choices[operation]} on rank {rank}",
                    rule="all ranks run the same kernels: weights that several ranks hold would drift apart",
                    fix=f"install the same on every machine, copy one machine's measured times to the others, or name "
                    f"one with {known.flag}; `steel doctor` tells what each would use",
                )


def _agree_on_products(mesh: Mesh) -> None:
    """Raises :class:`ConfigError` where ranks would multiply 16-bit numbers in different ways."""
    everywhere: list[dict[str, str]] = [{} for _ in range(mesh.world.size)]
    dist.all_gather_object(everywhere, cpu_products.report())
    for rank, report in enumerate(everywhere):
        for what, how in report.items():
            if how.split(" (")[0] != everywhere[0][what].split(" (")[0]:
                raise ConfigError(
                    f"{what}: {everywhere[0][what]} on rank 0, {how} on rank {rank}",
                    rule="all ranks multiply alike: weights that several ranks hold would drift apart",
                    fix=f"set {cpu_products.VARIABLE}=fp32 on every machine",
                )
