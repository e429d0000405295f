"""Batches: samples of the run as tensors.

B samples of the micro-batch, S tokens of a sample.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from steel_megatron.config import ConfigError, DataError, SteelError
from steel_megatron.samples.cutting.windows import Windows
from steel_megatron.samples.order import Order
from steel_megatron.samples.skips import NO_SKIPS, Skips
from steel_megatron.tokens.data_file import guarded_reads


@dataclass
class Batch:
    """A micro-batch. Positions, lengths and starts are None unless documents are kept apart."""

    tokens_BS: Tensor  # int64
    labels_BS: Tensor  # int64, the token that follows each input
    loss_mask_BS: Tensor  # bool, which labels count
    positions_BS: Tensor | None  # int64, from 0 in each document
    lengths: list[int] | None  # documents (or their parts) of the B·S tokens in a row; no document spans two samples
    cu_seqlens: Tensor | None  # int32 (documents + 1), where they start, and the end: the same as a tensor
    sample_ids_B: Tensor  # int64, the samples' numbers in the order
    source_ids_B: Tensor  # int64, each sample's source as its number in the order's names
    sources: list[str]  # each sample's source

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory, from which copies to a GPU run beside its work."""
        return self._mapped(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; the copy is queued on the current stream and not waited for."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {key: change(value) for key, value in vars(self).items() if torch.is_tensor(value)}
        return dataclasses.replace(self, **changed)


@dataclass(frozen=True)
class DocumentOptions:
    """How documents inside a sample are treated."""

    reset_position_ids: bool = False
    reset_attention_mask: bool = False
    eod_mask_loss: bool = False
    eod_id: int | None = None

    def __post_init__(self) -> None:
        if self.eod_mask_loss and self.eod_id is None:
            raise ConfigError(
                "--eod-mask-loss without an end-of-document token",
                rule="the tokenizer or the data's manifest names that token",
                fix="give --tokenizer-model, or leave --eod-mask-loss out",
            )


class BatchReader:
    """Makes batches of any samples of a run, on the CPU. Holds no position, so threads may share it.

    Args:
        order: which window each sample is.
        sources: each source's windows.
        seq_length: S.
        options: treatment of documents.
        vocab_size: no token may be this or above; None: not checked.
        skips: samples of the order that the run leaves out.
    """

    def __init__(
        self,
        order: Order,
        sources: Mapping[str, Windows],
        seq_length: int,
        options: DocumentOptions | None = None,
        vocab_size: int | None = None,
        skips: Skips = NO_SKIPS,
    ) -> None:
        self.order = order
        self.skips = skips
        self.sources = dict(sources)
        self.seq_length = seq_length
        self.options = options or DocumentOptions()
        self._source_ids = {name: number for number, name in enumerate(order.names)}
        self.vocab_size = vocab_size

    def counts(self, samples: int) -> dict[str, int]:
        """How many of the first ``samples`` samples of the run each source has."""
        return self.skips.counts(self.order, samples)

    def read(self, first_sample: int, size: int) -> Batch:
        """Samples ``first_sample`` to ``first_sample + size - 1`` of those that the run uses.

        Raises:
            DataError: a sample cannot be read or has a token outside the vocabulary; says which. A file was cut off.
        """
        with guarded_reads(self._damaged_files):
            return self._read(first_sample, size)

    def _damaged_files(self) -> list[str]:
        """Files of the sources that lack a part; sources that lie in memory have none."""
        parts = [getattr(windows, part, None) for windows in self.sources.values() for part in ("dataset", "index")]
        return [path for part in parts for path in getattr(part, "damaged_files", ())]

    def _read(self, first_sample: int, size: int) -> Batch:
        numbers = [self.skips.number(sample) for sample in range(first_sample, first_sample + size)]
        places = [self.order.at(number) for number in numbers]
        tokens_BS = np.empty((size, self.seq_length), np.int64)
        labels_BS = np.empty((size, self.seq_length), np.int64)
        positions_BS = np.empty((size, self.seq_length), np.int64)
        loss_mask_BS = np.ones((size, self.seq_length), np.bool_)
        apart = self.options.reset_position_ids or self.options.reset_attention_mask
        lengths: list[int] = []
        for row, (name, _, window) in enumerate(places):
            try:
                tokens = self.sources[name][window]
                tokens_BS[row], labels_BS[row] = tokens[:-1], tokens[1:]
                self._check_vocabulary(tokens_BS[row], labels_BS[row])
                counted = self.sources[name].counted(window)
                if counted is not None:
                    loss_mask_BS[row] = counted
                if apart:
                    starts = np.concatenate(([0], self.sources[name].document_starts(window)))
                    row_lengths = np.diff(starts, append=self.seq_length)
                    positions_BS[row] = np.arange(self.seq_length) - np.repeat(starts, row_lengths)
                    lengths += row_lengths.tolist()
            except Exception as error:
                where = f"sample {numbers[row]:,} (source {name!r}, window {window:,})"
                if isinstance(error, SteelError):
                    raise DataError(f"{where}: {error.given}", error.rule, error.fix) from error
                raise DataError(f"{where} cannot be read: {type(error).__name__}: {error}") from error
        return Batch(
            tokens_BS=torch.from_numpy(tokens_BS),
            labels_BS=torch.from_numpy(labels_BS),
            loss_mask_BS=torch.from_numpy(loss_mask_BS & self._loss_mask(tokens_BS)),
            positions_BS=torch.from_numpy(positions_BS) if self.options.reset_position_ids else None,
            lengths=lengths if self.options.reset_attention_mask else None,
            cu_seqlens=_starts(lengths) if self.options.reset_attention_mask else None,
            sample_ids_B=torch.tensor(numbers),
            source_ids_B=torch.tensor([self._source_ids[place.source] for place in places]),
            sources=[place.source for place in places],
        )

    def _loss_mask(self, tokens_BS: NDArray[np.int64]) -> NDArray[np.bool_]:
        """False where the input is an end-of-document token, as in Megatron-LM: its label begins another document."""
        if not self.options.eod_mask_loss:
            return np.ones(tokens_BS.shape, np.bool_)
        return tokens_BS != self.options.eod_id

    def _check_vocabulary(self, tokens_S: NDArray[np.int64], labels_S: NDArray[np.int64]) -> None:
        if self.vocab_size is None:
            return
        lowest, highest = min(tokens_S.min(), labels_S[-1]), max(tokens_S.max(), labels_S[-1])
        if lowest < 0 or highest >= self.vocab_size:
            raise DataError(
                f"token {lowest if lowest < 0 else highest} with a vocabulary of {self.vocab_size}",
                rule="every token of the data is in the model's vocabulary",
                fix="use the tokenizer that the data was made with, or tokenise the data again",
            )


def _starts(lengths: list[int]) -> Tensor:
    starts = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=starts[1:])
    return torch.from_numpy(starts)
