"""Ranks: where a score stands among those of a corpus. They make the scores of several classifiers comparable.

A logit is counted in one of 65,536 bins of 1/1024 from -32 to 32; what lies outside is in the first or the last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steel_megatron.config import ConfigError

BINS = 1 << 16
PER_UNIT = 1024
STEPS = 10_000  # a rank is a whole number of these, over STEPS
FORMAT = 1

Ints = NDArray[np.int64]


def bins_of(logits_N: NDArray[Any]) -> Ints:
    """The bin of each logit."""
    bins: Ints = np.clip(np.floor((logits_N + BINS / PER_UNIT / 2) * PER_UNIT), 0, BINS - 1).astype(np.int64)
    return bins


@dataclass(frozen=True)
class Ranks:
    """
    Args:
        digests: of the classifiers, by name.
        quantiles_MS: per classifier, the bins below which lie 1/STEPS, 2/STEPS, … of the texts, or at which they end.
        texts: that were counted.
    """

    digests: Mapping[str, str]
    quantiles_MS: tuple[Ints, ...]
    texts: int

    @classmethod
    def of(cls, digests: Mapping[str, str], counts_MB: NDArray[np.int64]) -> Ranks:
        """From how many texts lie in each bin."""
        wanted = np.arange(1, STEPS + 1)
        texts = int(counts_MB[0].sum())
        return cls(
            digests,
            tuple(np.searchsorted(np.cumsum(counts) * STEPS, wanted * texts) for counts in counts_MB),
            texts,
        )

    def steps_of(self, logits_NM: NDArray[Any]) -> Ints:
        """The largest rank of each text by any classifier, in steps: STEPS for one that no text is above."""
        ranks = [
            np.searchsorted(quantiles, bins_of(logits_NM[:, model]), side="right")
            for model, quantiles in enumerate(self.quantiles_MS)
        ]
        return np.max(ranks, axis=0)

    def content(self) -> dict[str, Any]:
        """As JSON holds it."""
        models = [
            {"name": name, "digest": digest, "quantiles": quantiles.tolist()}
            for (name, digest), quantiles in zip(self.digests.items(), self.quantiles_MS, strict=True)
        ]
        return {"format": FORMAT, "texts": self.texts, "models": models}

    @classmethod
    def read(cls, path: str | Path, digests: Mapping[str, str], given: str) -> Ranks:
        """The ranks in a file, of these classifiers in their order.

        Args:
            given: names the file in errors.

        Raises:
            ConfigError: it is not there, no file of ranks, or of other classifiers.
        """
        try:
            content = json.loads(Path(path).read_bytes())
            there = {model["digest"]: np.asarray(model["quantiles"], np.int64) for model in content["models"]}
            texts = int(content["texts"])
        except OSError as error:
            raise ConfigError(
                f"{given}: {path}: {error.strerror or error}", fix="steel classify score writes it"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise ConfigError(
                f"{given}: {path} holds no ranks", fix="name the file that steel classify score wrote"
            ) from None
        missing = [name for name, digest in digests.items() if digest not in there]
        if missing:
            raise ConfigError(
                f"{given}: {path} has no ranks of {', '.join(missing)}",
                rule="ranks are those of the very classifiers that score",
                fix="score a sample of the corpus with these classifiers again",
            )
        return cls(digests, tuple(there[digest] for digest in digests.values()), texts)


def threshold(steps_N: Sequence[Ints], share: float) -> int:
    """The largest rank, in steps, that at least this share of the texts have or are above.

    Args:
        steps_N: the ranks of all texts, in pieces.
    """
    counts = np.zeros(STEPS + 1, np.int64)
    for piece in steps_N:
        counts += np.bincount(piece, minlength=STEPS + 1)
    from_above = np.cumsum(counts[::-1])[::-1]
    enough = np.flatnonzero(from_above >= share * from_above[0])
    return int(enough[-1])
