"""The order of a run's samples: sample n is a pure function of (seed, phases, n).

There is no index array and no rank in it. Which source a sample belongs to comes from the phase's mixture
(:mod:`steel_megatron.samples.mixing.mixture`); the k-th sample of a source is window ``permutation(k mod windows)`` of
epoch ``k div windows`` (:mod:`steel_megatron.samples.permutation`), so each epoch holds every window once. A source's
count goes on from phase to phase.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steel_megatron.config import DataError
from steel_megatron.samples.mixing.mixture import Mixture
from steel_megatron.samples.mixing.phases import Phase, checked_phases
from steel_megatron.samples.permutation import Permutation


class Place(NamedTuple):
    """Where a sample lies."""

    source: str
    epoch: int
    window: int


@dataclass(frozen=True)
class Places:
    """Where many samples lie; ``sources`` are numbers into ``names``."""

    names: list[str]
    sources: NDArray[np.int64]
    epochs: NDArray[np.int64]
    windows: NDArray[np.int64]


class Order:
    """Sample number → (source, epoch, window), in constant time and memory for any sample below 2^56.

    Args:
        seed: seed of the shuffles. The mixture does not depend on it.
        phases: the mixtures, in order.
        windows: source → its number of windows. A source of a phase that is over may be missing, if no sample of it
            is asked for.
    """

    def __init__(self, seed: int, phases: Sequence[Phase], windows: Mapping[str, int]) -> None:
        self.phases = checked_phases(phases)
        self.windows = dict(windows)
        self.names = sorted({name for phase in self.phases for name in phase.shares})
        self._seed = seed
        self._starts = [phase.start for phase in self.phases]
        self._mixtures = [Mixture(phase.shares) for phase in self.phases]
        # Samples that each source had before each phase.
        self._before: list[dict[str, int]] = [dict.fromkeys(self.names, 0)]
        for mixture, start, end in zip(self._mixtures, self._starts, self._starts[1:], strict=False):
            self._before.append(_added(self._before[-1], mixture.counts(end - start)))
        self._shuffle = lru_cache(maxsize=1024)(self._make_shuffle)

    def at(self, sample: int) -> Place:
        """Where sample ``sample`` of the run lies."""
        phase = self._phase_of(sample)
        source, count = self._mixtures[phase].at(sample - self._starts[phase])
        epoch, place = divmod(self._before[phase][source] + count, self._windows_of(source))
        return Place(source, epoch, self._shuffle(source, epoch).at(place))

    def at_many(self, samples: NDArray[np.int64]) -> Places:
        """:meth:`at` of each sample, vectorised."""
        samples = np.asarray(samples, np.int64)
        sources = np.empty(len(samples), np.int64)
        counts = np.empty(len(samples), np.int64)
        if len(samples) and samples.min() < 0:
            raise IndexError(f"sample {samples.min()}")
        phase_of = np.searchsorted(self._starts, samples, side="right") - 1
        for phase in np.unique(phase_of):
            here = phase_of == phase
            local_sources, local_counts = self._mixtures[phase].at_many(samples[here] - self._starts[phase])
            names = self._mixtures[phase].names
            sources[here] = np.array([self.names.index(name) for name in names])[local_sources]
            counts[here] = np.array([self._before[phase][name] for name in names])[local_sources] + local_counts
        epochs = np.empty(len(samples), np.int64)
        windows = np.empty(len(samples), np.int64)
        for source in np.unique(sources):
            name = self.names[source]
            here = np.flatnonzero(sources == source)
            epochs[here], places = np.divmod(counts[here], self._windows_of(name))
            for epoch in np.unique(epochs[here]):
                same = epochs[here] == epoch
                windows[here[same]] = self._shuffle(name, int(epoch)).at_many(places[same])
        return Places(self.names, sources, epochs, windows)

    def counts(self, samples: int) -> dict[str, int]:
        """How many of the first ``samples`` samples of the run each source has."""
        phase = self._phase_of(max(samples - 1, 0))
        return _added(self._before[phase], self._mixtures[phase].counts(samples - self._starts[phase]))

    def names_from(self, sample: int) -> list[str]:
        """The sources of the phase that a sample belongs to, and of those after it."""
        return sorted({name for phase in self.phases[self._phase_of(sample) :] for name in phase.shares})

    def _phase_of(self, sample: int) -> int:
        if sample < 0:
            raise IndexError(f"sample {sample}")
        return bisect.bisect_right(self._starts, sample) - 1

    def _windows_of(self, source: str) -> int:
        if source not in self.windows:
            raise DataError(
                f"a sample of source {source!r} is asked for, whose data was not opened",
                rule="the data of every phase that is not over is there",
            )
        return self.windows[source]

    def _make_shuffle(self, source: str, epoch: int) -> Permutation:
        return Permutation(self._windows_of(source), f"{self._seed}\0{source}\0{epoch}")


def _added(first: Mapping[str, int], second: Mapping[str, int]) -> dict[str, int]:
    return {name: count + second.get(name, 0) for name, count in first.items()}
