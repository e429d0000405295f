"""What plain and best-fit packing make of a dataset's documents."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from steel_megatron.samples.cutting.packing_index import packing_index
from steel_megatron.samples.sources import content_fingerprint
from steel_megatron.tokens.indexed import IndexedDataset

BLOCK = 1 << 20  # documents looked at together


@dataclass(frozen=True)
class PackingReport:
    """Both ways for samples of ``seq_length`` tokens.

    ``fitting`` documents have at most ``seq_length + 1`` tokens; plain packing cuts ``cut_though_fitting`` of them,
    best fit none. ``padding`` and ``counted`` are shares of the positions of all samples: filled with padding, and with
    a label that counts.
    """

    seq_length: int
    documents: int
    fitting: int
    tokens: int
    cut_though_fitting: int
    tokens_in_those: int
    plain_samples: int
    best_fit_samples: int
    padding: float
    counted: float
    seconds: float  # to make the index; about 0 where it was there


def packing_report(dataset: IndexedDataset, seq_length: int, cache: str | None = None) -> PackingReport:
    """Looks at every document's length, and makes the index of best-fit packing if it is not there."""
    plain_samples = max(dataset.token_count - 1, 0) // seq_length
    filled = cuts = fitting = cut_tokens = 0
    for _, bounds in dataset.document_blocks(BLOCK):
        starts, lengths = bounds[:-1], np.diff(bounds)
        last = starts + lengths - 1
        fits = lengths <= seq_length + 1
        # A sample's last token is the first of the next one: a document may end there and still be whole.
        whole = (last // seq_length == starts // seq_length) | (last == (starts // seq_length + 1) * seq_length)
        cut = fits & ~whole & (lengths > 0)
        fitting += int(fits.sum())
        cuts += int(cut.sum())
        cut_tokens += int(lengths[cut].sum())
        filled += int((lengths > 0).sum())
    started = time.perf_counter()
    index = packing_index(dataset, content_fingerprint(dataset), (0, dataset.document_count), seq_length, cache)
    seconds = time.perf_counter() - started
    room = index.samples * (seq_length + 1)
    return PackingReport(
        seq_length=seq_length,
        documents=dataset.document_count,
        fitting=fitting,
        tokens=dataset.token_count,
        cut_though_fitting=cuts,
        tokens_in_those=cut_tokens,
        plain_samples=plain_samples,
        best_fit_samples=index.samples,
        padding=(room - index.tokens) / max(room, 1),
        counted=(dataset.token_count - filled) / max(index.samples * seq_length, 1),  # all but documents' first tokens
        seconds=seconds,
    )


def packing_text(report: PackingReport) -> str:
    """The report for reading."""
    fitting = max(report.fitting, 1)
    return "\n".join(
        [
            f"{report.documents:,} documents, {report.tokens:,} tokens, samples of {report.seq_length:,} tokens",
            f"fit into a sample: {report.fitting:,} documents ({report.fitting / max(report.documents, 1):.2%})",
            f"plain:    {report.plain_samples:,} samples; of the documents that fit, {report.cut_though_fitting:,} "
            f"({report.cut_though_fitting / fitting:.2%}) are cut, with {report.tokens_in_those:,} tokens "
            f"({report.tokens_in_those / max(report.tokens, 1):.2%} of all); no padding",
            f"best fit: {report.best_fit_samples:,} samples; none is cut; {report.padding:.4%} padding, "
            f"{report.counted:.2%} of the positions have a label that counts; index made in {report.seconds:.1f} s",
        ]
    )
