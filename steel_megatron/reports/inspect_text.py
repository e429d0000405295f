"""Reports of :mod:`steel_megatron.reports.inspect` for reading."""

from __future__ import annotations

from steel_megatron.jobs.tables import plain_table
from steel_megatron.reports.inspect import DatasetReport, DocumentReport, Verification
from steel_megatron.tokens.document_lengths import DocumentLengths, LengthBucket
from steel_megatron.tokens.manifest import Manifest

BAR = 30  # characters of the longest bar


def dataset_text(report: DatasetReport) -> str:
    """The numbers of a dataset, a histogram of its documents' lengths, and what its manifest tells."""
    rows = [
        ("dataset", report.prefix),
        ("tokens", f"{report.tokens:,} ({report.dtype})"),
        ("documents", f"{report.documents:,}"),
        ("sequences", f"{report.sequences:,}" + (", each with a mode (multimodal)" if report.multimodal else "")),
        ("files", f".bin {report.bin_bytes:,} bytes, .idx {report.idx_bytes:,} bytes"),
    ]
    rows += _manifest_rows(report.manifest)
    if report.lengths is not None:
        rows += _length_rows(report.lengths)
    lines = [plain_table(rows, right=False)]
    if report.lengths is not None:
        lines += ["", *_histogram_lines(report.lengths.histogram, report.documents, report.tokens)]
    return "\n".join(lines)


def document_text(report: DocumentReport) -> str:
    """A document's size, then its text, or its ids where no tokenizer was given."""
    tokens, sequences = len(report.ids), len(report.sequence_lengths)
    head = f"document {report.document:,} of {report.prefix}: {tokens:,} tokens, {sequences:,} sequence(s)"
    return f"{head}\n{' '.join(map(str, report.ids)) if report.text is None else report.text}"


def verification_text(found: Verification) -> str:
    """What was checked."""
    lines = ["index: every entry is right, and .bin has the size it tells of"]
    if found.largest_id is not None:
        lines.append(f"ids: {found.smallest_id} to {found.largest_id}")
    if found.hashes_checked:
        lines.append("manifest: counts, ids and hashes of .bin and .idx agree")
    else:
        lines.append("manifest: there is none, so no hash was compared")
    return "\n".join(lines)


def _manifest_rows(manifest: Manifest | None) -> list[tuple[str, str]]:
    if manifest is None:
        return [("manifest", "none")]
    tokenizer = manifest.tokenizer
    end = f"documents end with id {tokenizer.eod_id}" if manifest.append_eod else "no end-of-document ids"
    rejects = ", ".join(f"{reason} {count:,}" for reason, count in manifest.rejects.items()) or "none"
    return [
        ("tokenizer", f"{tokenizer.type}, {tokenizer.vocab_size:,} ids, {end}, largest id {manifest.largest_id:,}"),
        ("fingerprint", tokenizer.fingerprint),
        ("inputs", f"{len(manifest.inputs):,} files, {sum(record.bytes for record in manifest.inputs):,} bytes"),
        ("text", f"{manifest.text_bytes:,} bytes, {manifest.text_bytes / max(manifest.tokens, 1):.2f} per token"),
        ("rejects", rejects),
    ]


def _length_rows(lengths: DocumentLengths) -> list[tuple[str, str]]:
    quantiles = ", ".join(f"{share} {length:,}" for share, length in lengths.quantiles.items())
    return [
        ("length", f"mean {lengths.mean:,.1f}, shortest {lengths.shortest:,}, longest {lengths.longest:,}"),
        ("quantiles", quantiles),
        ("empty", f"{lengths.empty:,} documents"),
    ]


def _histogram_lines(buckets: tuple[LengthBucket, ...], documents: int, tokens: int) -> list[str]:
    names = [f"{b.first:,}" if b.first == b.last else f"{b.first:,}-{b.last:,}" for b in buckets]
    width = max(map(len, [*names, "tokens"]))
    most = max(bucket.documents for bucket in buckets)
    lines = [f"{'tokens':>{width}}  {'documents':<{BAR}}  {'':>8}  of all tokens"]
    for name, bucket in zip(names, buckets, strict=True):
        bar = "#" * -(-bucket.documents * BAR // most)  # rounded up: what is there is seen
        shares = f"{100 * bucket.documents / documents:6.2f} %  {100 * bucket.tokens / max(tokens, 1):11.2f} %"
        lines.append(f"{name:>{width}}  {bar:<{BAR}}  {shares}")
    return lines
