"""Our training step: the trainer's own, with its data loader, fp32 masters, moments and gradients."""

from __future__ import annotations

import atexit
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from step_contender import Contender, Setting, Step

from steel_megatron.config import check_run
from steel_megatron.config.run import KNOBS
from steel_megatron.ops.backends import BACKENDS
from steel_megatron.optim.batch_size import BatchSize
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import parameters_with_spec, slices_of
from steel_megatron.tokens.indexed import IndexedWriter
from steel_megatron.tokens.token_type import best_dtype
from steel_megatron.training.loop import Trainer
from steel_megatron.training.startup.setup import build_components, build_data
from steel_megatron.training.state import RunState

STEPS = 1000  # of the run whose first steps are timed


def random_dataset(setting: Setting, folder: Path) -> str:
    """A dataset of random tokens, enough for some steps; the run goes over it again and again."""
    training = setting.config.training
    tokens = max(8 * training.micro_batch_size, 64) * training.seq_length + 1
    prefix = folder / "tokens"
    with IndexedWriter(prefix, best_dtype(setting.vocab_size)) as writer:
        writer.add_document(np.random.default_rng(1).integers(0, setting.vocab_size, tokens))
    return str(prefix)


def fill_weights(parameters: list[torch.Tensor]) -> None:
    """Initial values by each piece's rule, drawn on the device: the layout-independent ones take a minute at 1 B."""
    with torch.no_grad():
        for parameter in parameters:
            for piece, block in slices_of(parameter):
                if piece.init.kind == "normal":
                    block.tensor.normal_(0.0, piece.init.std)
                else:
                    block.tensor.fill_(float(piece.init.kind == "ones"))


def our_step(setting: Setting, knobs: dict[str, Any]) -> Step:
    """A step of :class:`Trainer` as it logs by default, in bf16 if ``knobs`` do not say otherwise, on one device."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    run = {"device": setting.device, "precision": "bf16", "train_iters": STEPS, "eval_iters": 0}
    data = [random_dataset(setting, Path(folder.name))]
    config = check_run(setting.config.replace(**{**run, "train_data_path": data, **knobs}))
    grid = Grid.single(setting.device)
    batch_size, state = BatchSize(config.training), RunState()
    datasets = build_data(config, grid, None, batch_size, state)
    atexit.register(datasets.close)
    components = build_components(config, grid, batch_size, datasets, initialise=False)
    fill_weights(list(parameters_with_spec(components.chunks)))
    components.optimizer.reset_masters()
    trainer = Trainer(config, components, state, [])

    def step() -> None:
        trainer.train_step()
        if trainer.due():
            trainer.read()

    return step


def missing(device: str, backend: str, knobs: dict[str, Any]) -> str:
    """Why a variant of ours cannot run here; empty where it can."""
    unknown = [name for name in knobs if name not in KNOBS]
    if unknown:
        return f"this version has no {', '.join(unknown)}"
    if device != "cuda" and NEED_A_GPU & knobs.keys():
        return "needs a GPU"
    if device == "cuda" and knobs.get("precision") == "fp32":
        return "16 bits are faster on any GPU"
    needed = "te" if knobs.get("transformer_impl") == "transformer_engine" else backend
    return BACKENDS[needed].missing(device) or ""


def variant(backend: str, slow_start: bool = False, **knobs: Any) -> Contender:
    """Ours with a kernel backend and further knobs, named by their flags."""
    all_knobs = {"kernel_backend": backend, **knobs}
    flags = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}") for name, value in all_knobs.items()
    ]
    return Contender(
        f"steel_megatron, {' '.join(flags)}",
        lambda setting: our_step(setting, all_knobs),
        lambda device: missing(device, backend, knobs),
        slow_start,
    )


NEED_A_GPU = {"enable_cuda_graph", "fp8_format", "transformer_impl"}
TE = "transformer_engine"
OURS = [
    variant("steel"),
    variant("torch"),
    variant("steel", precision="fp32"),
    variant("steel", fp8_format="hybrid"),
    variant("steel", compile_blocks=True),
    variant("torch", compile_blocks=True),
    variant("steel", enable_cuda_graph=True),
    variant("te"),
    variant("apex"),
    variant("steel", transformer_impl=TE),
    variant("steel", transformer_impl=TE, fp8_format="hybrid"),
]
