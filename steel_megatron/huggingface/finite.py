"""Weights that are no numbers are refused where they come in or go out: who takes them up finds out later."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from steel_megatron.config import CheckpointError
from steel_megatron.config.texts import some
from steel_megatron.huggingface.weights import WeightSource

NAMED = 5  # tensors in the message
COPY_AGAIN = (
    "download or copy the files again; if they are as they were published, take an earlier checkpoint of that model"
)


class FiniteWeights:
    """A source of weights that looks at each tensor as it is read, also as it will be in ``dtype``."""

    def __init__(self, source: WeightSource, dtype: torch.dtype) -> None:
        self.source = source
        self.dtype = dtype
        self.not_finite: list[str] = []
        self.too_large: list[str] = []

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.source.shapes

    def __getitem__(self, name: str) -> Tensor:
        tensor = self.source[name]
        bad = int((~tensor.isfinite()).sum())
        if bad:
            self.not_finite.append(f"{name} ({bad:,} of {tensor.numel():,} elements)")
        elif tensor.dtype != self.dtype and (large := int((~tensor.to(self.dtype).isfinite()).sum())):
            self.too_large.append(f"{name} ({large:,} of {tensor.numel():,} elements)")
        return tensor

    def check(self, where: str, fix: str = COPY_AGAIN) -> None:
        """After all tensors have been read.

        Args:
            where: they come from.
            fix: what to do where they are NaN or infinite.

        Raises:
            CheckpointError: names those that are not finite.
        """
        if self.not_finite:
            raise CheckpointError(
                f"{where} has weights that are NaN or infinite: {some(self.not_finite, NAMED)}",
                rule="every weight of a model is a finite number",
                fix=fix,
            )
        if self.too_large:
            kind = str(self.dtype).removeprefix("torch.")
            raise CheckpointError(
                f"{where} has weights that {kind} cannot hold: {some(self.too_large, NAMED)}",
                rule="every weight of a model is a finite number in the type that it is written in",
                fix="give --dtype bf16 or fp32",
            )
