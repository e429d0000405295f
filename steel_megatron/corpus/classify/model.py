"""A trained classifier and its file.

The file: ``STEELCLF``; the length of the header in 4 bytes, little-endian; the header in JSON; the weights as 8- or
16-bit whole numbers in zstd, B buckets × C columns; xxh3-128 of all before it.
"""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
import zstandard
from numpy.typing import NDArray

from steel_megatron._classify import Linear, Settings, score_texts
from steel_megatron.config import ConfigError, DataError
from steel_megatron.jobs.durable import whole

MAGIC = b"STEELCLF"
FORMAT = 1
WIDTHS = (8, 16)  # bits of a weight
HASH_BYTES = 16
ZSTD_LEVEL = 19


@dataclass(frozen=True)
class Features:
    """What is seen of a text: ``csrc/classify/ngrams.h`` says how.

    Args:
        bits: features are numbered below 2^bits.
        order: n-grams of 1 to ``order`` characters.
        words: also words, and pairs of words, of scripts that put spaces between them.
        characters: that are read of a text, from its beginning.
    """

    bits: int = 20
    order: int = 4
    words: bool = True
    characters: int = 10_000

    def settings(self) -> Settings:
        return Settings(self.bits, self.order, self.words, self.characters)


@dataclass(frozen=True)
class Classifier:
    """
    Args:
        name: what its scores are called.
        labels: two, of which the second is the one that a score is the probability of; or more.
        weights_BC: whole numbers of 16 bits; one column for two labels.
        scale: of the weights.
        width: bits of a weight in the file.
        trained: on what, how, and what came of it.
    """

    name: str
    labels: tuple[str, ...]
    features: Features
    weights_BC: NDArray[np.int16]
    scale: float
    bias_C: tuple[float, ...]
    width: int
    trained: Mapping[str, Any]

    @functools.cached_property
    def linear(self) -> Linear:
        """What scores."""
        return Linear(self.features.settings(), self.weights_BC, self.scale, list(self.bias_C))

    @functools.cached_property
    def digest(self) -> str:
        """Names what it says of texts: the hash of all that the scores depend on."""
        made_of = json.dumps([self.labels, vars(self.features), self.scale, self.bias_C])
        return xxhash.xxh3_128_hexdigest(made_of.encode() + self.weights_BC.tobytes())

    @property
    def columns(self) -> int:
        return len(self.bias_C)

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Per text: of the second label where there are two, else a row with one per label."""
        return probabilities_of(score_texts([self.linear], list(texts)))

    def label_of(self, text: str) -> tuple[str, float]:
        """The likeliest label and its probability."""
        found = self.probabilities([text])[0]
        if self.columns == 1:
            return (self.labels[1], float(found)) if found >= 0.5 else (self.labels[0], 1.0 - float(found))
        best = int(found.argmax())
        return self.labels[best], float(found[best])

    def write(self, path: Path) -> None:
        """Writes the file in one step."""
        header = {
            "format": FORMAT,
            "labels": self.labels,
            "features": vars(self.features),
            "scale": self.scale,
            "bias": self.bias_C,
            "width": self.width,
            "trained": self.trained,
        }
        head = json.dumps(header, ensure_ascii=False).encode("utf-8", "backslashreplace")
        weights = self.weights_BC.astype(f"<i{self.width // 8}").tobytes()
        content = b"".join([MAGIC, struct.pack("<I", len(head)), head, zstandard.compress(weights, ZSTD_LEVEL)])
        with whole(path) as file:
            file.write(content)
            file.write(xxhash.xxh3_128_digest(content))


def probabilities_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 1) → (N,), the logistic function; (N, C) → (N, C), softmax."""
    if logits.shape[1] == 1:
        return np.exp(-np.logaddexp(0.0, -logits[:, 0]))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return found


def read_classifier(path: str | Path, flag: str = "--model") -> Classifier:
    """The classifier in a file.

    Raises:
        ConfigError: it is not there, no classifier, or of a later version.
        DataError: it is damaged.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{flag} {path}: {error.strerror or error}",
            rule="it is the file of a classifier",
            fix="steel classify train",
        ) from None
    if not content.startswith(MAGIC):
        raise ConfigError(
            f"{flag} {path} is no classifier", rule="it is a file that steel classify train wrote", fix="check the path"
        )
    if xxhash.xxh3_128_digest(content[:-HASH_BYTES]) != content[-HASH_BYTES:]:
        raise DataError(
            f"{path} is damaged: its {len(content):,} bytes do not have the hash that stands at their end",
            rule="a model is read as it was written, or not at all",
            fix="copy it again, or train it again",
        )
    (length,) = struct.unpack_from("<I", content, len(MAGIC))
    start = len(MAGIC) + 4
    header = json.loads(content[start : start + length])
    if header["format"] != FORMAT:
        raise ConfigError(
            f"{flag} {path} is of format {header['format']}", rule=f"this version reads {FORMAT}", fix="update steel"
        )
    features = Features(**header["features"])
    columns = len(header["bias"])
    weights = zstandard.decompress(content[start + length : -HASH_BYTES])
    return Classifier(
        name=path.name.removesuffix(path.suffix),
        labels=tuple(header["labels"]),
        features=features,
        weights_BC=np.frombuffer(weights, f"<i{header['width'] // 8}").astype(np.int16).reshape(-1, columns),
        scale=header["scale"],
        bias_C=tuple(header["bias"]),
        width=header["width"],
        trained=header["trained"],
    )


def rounded(weights_BC: NDArray[np.float32], width: int) -> tuple[NDArray[np.int16], float]:
    """Weights as whole numbers of a width, and their scale; of 8 bits, the rarest large ones are cut off.

    The scale is that, of a few, which leaves the smallest squared error.
    """
    largest = float(np.abs(weights_BC).max(initial=0.0)) or 1.0
    most = (1 << (width - 1)) - 1
    best: tuple[float, float] | None = None
    for share in (1.0, 0.7, 0.5, 0.35, 0.25, 0.18, 0.125) if width == 8 else (1.0,):
        scale = share * largest / most
        error = float(np.square(np.clip(np.rint(weights_BC / scale), -most, most) * scale - weights_BC).sum())
        if best is None or error < best[0]:
            best = error, scale
    assert best is not None
    return np.clip(np.rint(weights_BC / best[1]), -most, most).astype(np.int16), best[1]
