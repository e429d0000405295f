"""What the launcher of several processes told this one: torchrun's variables, checked before torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steel_megatron.config.errors import ConfigError

TOGETHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
RULE = "torchrun sets RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT together"
FIX = "start with torchrun --nproc-per-node N, or unset them to run one process"
LARGEST_PORT = 65535

# Launchers that start a process many times without telling torch: the count of processes, and this one's number.
OTHERS = {
    "srun": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
    "mpirun": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
    "mpiexec": ("PMI_SIZE", "PMI_RANK"),
}


@dataclass(frozen=True)
class Launch:
    """What torchrun told this process."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    under_torchrun: bool = False  # or the variables were set by other means

    @property
    def neighbours(self) -> range:
        """The ranks that may be on this machine, this one among them."""
        first = max(self.rank - self.local_world_size + 1, 0)
        return range(first, min(self.rank + self.local_world_size, self.world_size))


def launch_from(environment: Mapping[str, str]) -> Launch | None:
    """Torchrun's variables; None when the process was started by hand.

    Raises:
        ConfigError: some of the variables are missing, no numbers, or contradict each other; or there are none, and
            this process is one of several that know nothing of one another.
    """
    if "WORLD_SIZE" not in environment and "RANK" not in environment:
        refuse_separate_runs(environment)
        return None
    missing = [name for name in TOGETHER if name not in environment]
    if missing:
        there = ", ".join(f"{name}={environment[name]}" for name in TOGETHER if name in environment)
        raise ConfigError(f"{there} without {', '.join(missing)}", RULE, FIX)
    rank, world_size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    local = _number(environment, "LOCAL_WORLD_SIZE", world_size)
    local_rank = _number(environment, "LOCAL_RANK", rank % local if local else 0)
    port = _number(environment, "MASTER_PORT")
    if not environment["MASTER_ADDR"]:
        raise ConfigError("MASTER_ADDR is empty", RULE, FIX)
    if port > LARGEST_PORT:
        raise ConfigError(f"MASTER_PORT={port}", f"a port is a number up to {LARGEST_PORT}", FIX)
    for one, other, number, count in (
        ("RANK", "WORLD_SIZE", rank, world_size),
        ("LOCAL_RANK", "LOCAL_WORLD_SIZE", local_rank, local),
    ):
        if number >= count:
            raise ConfigError(f"{one}={number} with {other}={count}", f"{one} counts from 0 and is below {other}", FIX)
    if local > world_size:
        raise ConfigError(
            f"LOCAL_WORLD_SIZE={local} with WORLD_SIZE={world_size}", "a node has some of all processes", FIX
        )
    return Launch(rank, world_size, local_rank, local, "TORCHELASTIC_RUN_ID" in environment)


def is_one_of_several(environment: Mapping[str, str]) -> bool:
    """Whether torchrun, or whoever sets its variables, started this process; they are not checked any further."""
    return all(environment.get(name, "").isdecimal() for name in ("RANK", "WORLD_SIZE"))


def refuse_separate_runs(environment: Mapping[str, str]) -> None:
    """Refuses to be one of N whole runs: a launcher for MPI programs starts this N times, and torch is not told.

    Raises:
        ConfigError: that is so.
    """
    for launcher, (size, rank) in OTHERS.items():
        count = environment.get(size, "")
        if launcher == "srun" and not count and _is_task(environment):
            size = "SLURM_NTASKS"
            count = environment.get(size, "")
        if count.isdecimal() and int(count) > 1 and rank in environment:
            raise ConfigError(
                f"{launcher} starts this command {count} times ({size}={count}, {rank}={environment[rank]}) without "
                "RANK and WORLD_SIZE: so many separate runs",
                rule="the processes of a run are started by torchrun, which tells them of one another",
                fix="start one task per node (srun --ntasks-per-node=1 torchrun --nnodes … -m steel_megatron train …), "
                "as examples/pretrain_1b/train.sbatch does; or one task in all for a run of one process",
            )


def _is_task(environment: Mapping[str, str]) -> bool:
    """Whether srun started this process. A batch script has SLURM_NTASKS and is number 0 as well, and no step."""
    step = "SLURM_STEP_ID" in environment or "SLURM_STEPID" in environment
    return step or "SLURM_JOB_ID" not in environment or environment.get("SLURM_PROCID", "0") != "0"


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    value = environment.get(name)
    if value is None and default is not None:
        return default
    if value is None or not value.isdecimal():
        raise ConfigError(f"{name}={value or '(empty)'}", f"{name} is a whole number; {RULE}", FIX)
    return int(value)
