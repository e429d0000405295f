"""What a run counts: per source and operation what came in and went out, histograms, and sampled drops.

Tallies of parts add up to the same whole in whatever way the work was shared out.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

SAMPLES = 20  # drops per operation that the report shows
RATIO_BINS = 50  # between 0 and 1
DECADE_BINS = 10  # per factor of ten of counts
SAMPLE_CHARACTERS = 1500

Amount = list[int]  # documents, characters, tokens


def bin_of(value: float, scale: str) -> int:
    """The histogram bin of a number; bin 0 of counts holds what is below 1."""
    if scale == "ratio":
        return min(max(int(value * RATIO_BINS), 0), RATIO_BINS - 1)
    return 0 if value < 1 else 1 + int(math.log10(value) * DECADE_BINS + 1e-9)


def bin_edges(index: int, scale: str) -> tuple[float, float]:
    """The lower and the upper edge of a bin."""
    if scale == "ratio":
        return index / RATIO_BINS, (index + 1) / RATIO_BINS
    low = 0.0 if index == 0 else 10 ** ((index - 1) / DECADE_BINS)
    return low, 10 ** (index / DECADE_BINS)


@dataclass
class Tally:
    """Counts of a part or of a run.

    Args:
        amounts: source → one amount before the first operation, one behind each, and one of what was written.
        histograms: per operation, bin → documents; empty of mappers.
        reasons: operation (or ``read``, ``write``) → reason → documents.
        samples: operation → ``[rank, drop]``, the :data:`SAMPLES` of lowest rank.
    """

    records: int = 0
    documents: int = 0
    text_bytes: int = 0
    amounts: dict[str, list[Amount]] = field(default_factory=dict)
    histograms: list[dict[str, int]] = field(default_factory=list)
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    samples: dict[str, list[list[Any]]] = field(default_factory=dict)
    failures: int = 0  # drops by an exception in an operation

    @classmethod
    def of(cls, steps: int) -> Tally:
        return cls(histograms=[{} for _ in range(steps)])

    @property
    def dropped(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.reasons.values())

    def pass_on(self, source: str, stage: int, documents: int, characters: int, tokens: int) -> None:
        """Adds to what left a stage; stage 0 is what came in."""
        stages = self.amounts.get(source)
        if stages is None:
            stages = self.amounts[source] = [[0, 0, 0] for _ in range(len(self.histograms) + 2)]
        amount = stages[stage]
        amount[0] += documents
        amount[1] += characters
        amount[2] += tokens

    def measure(self, step: int, scale: str, value: float) -> None:
        """Adds a number to an operation's histogram."""
        key = str(bin_of(value, scale))
        histogram = self.histograms[step]
        histogram[key] = histogram.get(key, 0) + 1

    def drop(self, operation: str, reason: str, rank: int, drop: dict[str, Any]) -> None:
        """Counts a dropped document; ``rank`` decides whether it is among the samples."""
        reasons = self.reasons.setdefault(operation, {})
        reasons[reason] = reasons.get(reason, 0) + 1
        samples = self.samples.setdefault(operation, [])
        if len(samples) < SAMPLES or rank < samples[-1][0]:
            samples.append([rank, {**drop, "content": drop["content"][:SAMPLE_CHARACTERS]}])
            samples.sort(key=lambda sample: (sample[0], sample[1]["id"]))
            del samples[SAMPLES:]

    def add(self, other: Tally) -> None:
        """Takes another tally in."""
        self.records += other.records
        self.documents += other.documents
        self.text_bytes += other.text_bytes
        self.failures += other.failures
        for source, stages in other.amounts.items():
            for stage, amount in enumerate(stages):
                self.pass_on(source, stage, *amount)
        for mine, theirs in zip(self.histograms, other.histograms, strict=True):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count
        for operation, reasons in other.reasons.items():
            counts = Counter(self.reasons.get(operation, {}))
            counts.update(reasons)
            self.reasons[operation] = dict(sorted(counts.items()))
        for operation, samples in other.samples.items():
            together = [*self.samples.get(operation, []), *samples]
            self.samples[operation] = sorted(together, key=lambda sample: (sample[0], sample[1]["id"]))[:SAMPLES]
