"""What a sample of a run is made of: its source, its documents, and its text."""

from __future__ import annotations

from dataclasses import dataclass

from steel_megatron.config import ConfigError
from steel_megatron.reports.inspect import decode_ids
from steel_megatron.samples.build import Datasets
from steel_megatron.samples.cutting.windows import Windows
from steel_megatron.tokenizer import Tokenizer
from steel_megatron.tokens.indexed import IndexedDataset


@dataclass(frozen=True)
class Stretch:
    """Tokens ``first`` to ``first + tokens - 1`` of a document of ``document_tokens``; documents count from 0."""

    document: int
    first: int
    tokens: int
    document_tokens: int


@dataclass(frozen=True)
class SampleReport:
    """One sample; ``ids`` are its inputs and last label without padding, None where only documents were asked for."""

    sample: int
    source: str
    path: str
    epoch: int
    window: int
    stretches: tuple[Stretch, ...]
    ids: list[int] | None = None
    text: str | None = None


def sample_documents(datasets: Datasets, sample: int) -> SampleReport:
    """Where a sample of the run comes from.

    Raises:
        ConfigError: the run has no such sample.
        DataError: the data of its source is not there.
    """
    if not 0 <= sample < datasets.end:
        raise ConfigError(f"sample {sample:,}", rule=f"the run's samples are 0 to {datasets.end - 1:,}")
    place = datasets.train.reader.order.at(sample)
    source = datasets.sources[place.source]
    stretches = stretches_of(source.dataset, source.windows["train"], place.window)
    return SampleReport(sample, place.source, source.path, place.epoch, place.window, stretches)


def inspect_sample(datasets: Datasets, sample: int, tokenizer: Tokenizer | None) -> SampleReport:
    """A sample with its tokens, decoded where there is a tokenizer; the errors of :func:`sample_documents`."""
    found = sample_documents(datasets, sample)
    source = datasets.sources[found.source]
    real = sum(length for _, length in source.windows["train"].pieces(found.window))
    ids = source.windows["train"][found.window][:real]
    text = None if tokenizer is None else decode_ids(source.dataset, ids, tokenizer)
    return SampleReport(**{**vars(found), "ids": ids.tolist(), "text": text})


def stretches_of(dataset: IndexedDataset, windows: Windows, window: int) -> tuple[Stretch, ...]:
    """The documents that a window is cut from, in order."""
    found = []
    for start, length in windows.pieces(window):
        document, stop = dataset.document_at(start), start + length
        while start < stop:
            first, last = dataset.document_token_range(document, document + 1)
            tokens = min(stop, last) - start
            if tokens > 0:
                found.append(Stretch(document, start - first, tokens, last - first))
                start += tokens
            document += 1
    return tuple(found)


def sample_text(report: SampleReport) -> str:
    """A sample for reading: a line of where it is from, and its text or ids if they were asked for."""
    parts = [
        f"{stretch.document}"
        if stretch.tokens == stretch.document_tokens
        else f"{stretch.document}[{stretch.first}:{stretch.first + stretch.tokens} of {stretch.document_tokens}]"
        for stretch in report.stretches
    ]
    line = (
        f"sample {report.sample:,}: {report.source}, epoch {report.epoch}, window {report.window:,}, "
        f"documents {', '.join(parts)}"
    )
    if report.ids is None:
        return line
    return f"{line}\n{' '.join(map(str, report.ids)) if report.text is None else report.text}"
