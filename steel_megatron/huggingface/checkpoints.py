"""A run's checkpoint as conversion sees it: the model's configuration and its tensors, whatever layout wrote them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steel_megatron.checkpoint.foreign import refuse_foreign
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointError, ModelConfig, RunConfig
from steel_megatron.config.load import knobs_in
from steel_megatron.model.gpt import GPT
from steel_megatron.model.slices import WEIGHT
from steel_megatron.optim.optimizer import MASTER
from steel_megatron.parallel.parameter import Piece, param_dtype, parameters_with_spec, slices_of


@dataclass
class RunCheckpoint:
    """One checkpoint of a run, whole and checked. ``facts`` is its part that is not tensors."""

    folder: Path
    store: CheckpointStore
    step: int
    config: RunConfig
    facts: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, step: int | None = None) -> RunCheckpoint:
        """The checkpoint of a step, or the newest whole one.

        Raises:
            CheckpointError: nothing there, or damaged; what is there is named.
        """
        refuse_foreign(folder, "--load")
        store = CheckpointStore(folder)
        given = step is not None
        step = step if given else store.newest()
        if step is None or step not in store.steps():
            raise CheckpointError(
                f"no whole checkpoint{'' if step is None else f' of step {step}'} in {folder}",
                rule=store.describe(),
                fix="check --load and --step",
            )
        if given and (problems := store.verify(step)):
            raise CheckpointError(
                f"{store.folder(step)} is damaged: {'; '.join(problems[:3])}",
                fix="use another --step, or copy it again",
            )
        facts = store.facts(step)
        # A knob that the checkpoint does not have is that of the default model, as when it was written.
        config = RunConfig().replace(**knobs_in(facts["config"], f"{store.folder(step)}, configuration"))
        return cls(folder, store, step, config, facts)

    @property
    def model(self) -> ModelConfig:
        """The shape of the model."""
        return self.config.model

    @property
    def dtype(self) -> torch.dtype:
        """The type in which the weights were trained."""
        return param_dtype(self.config.training.precision)

    @property
    def tokenizer_fingerprint(self) -> str | None:
        """Of the tokenizer of the training data; None if the run did not know it."""
        return self.facts.get("tokenizer_fingerprint")

    @cached_property
    def stored(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and type of every stored tensor by name."""
        return self.store.tensors(self.step)

    def tensors(self, pieces: Iterable[Piece], masters: bool = False) -> dict[str, Tensor]:
        """Whole tensors by the pieces' names, without a vocabulary's padding.

        Args:
            masters: the optimizer's fp32 copies, for pieces of which it has one.

        Raises:
            CheckpointError: a tensor is missing or has another shape.
        """
        stored = self.stored
        names = {}
        for piece in pieces:
            name = WEIGHT + piece.name
            shape = (piece.global_shape[0] if piece.rows is None else piece.rows, *piece.global_shape[1:])
            if name not in stored or stored[name][0] != shape:
                found = list(stored[name][0]) if name in stored else "missing"
                raise CheckpointError(
                    f"{self.store.folder(self.step)}: {name} is {found}",
                    rule=f"the configuration in its facts.json describes {list(shape)}",
                    fix="the files of this checkpoint do not belong together: use another --step",
                )
            master = MASTER + piece.name
            names[master if masters and master in stored else name] = piece.name
        return {names[name]: tensor for name, tensor in self.store.read_tensors(self.step, names)}

    def load_into(self, model: GPT, rounded_to: torch.dtype | None = None, masters: bool = False) -> None:
        """Fills a whole model's weights in place, converting to its type; one tensor is held at a time.

        Args:
            rounded_to: a type that the values go through on the way.
            masters: see :meth:`tensors`.
        """
        with torch.no_grad():
            for parameter in parameters_with_spec([model]):
                for piece, block in slices_of(parameter):
                    tensor = self.tensors([piece], masters)[piece.name]
                    tensor = tensor if rounded_to is None else tensor.to(rounded_to)
                    block.tensor[: len(tensor)].copy_(tensor)
                    block.tensor[len(tensor) :].zero_()
