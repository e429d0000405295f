from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

MOST_BITS: int
MOST_ORDER: int

class Settings:
    def __init__(self, bits: int, order: int, words: bool, characters: int) -> None: ...

def features(text: str, settings: Settings) -> NDArray[np.uint32]:
    """The numbers of a text's features, in order."""

class Linear:
    def __init__(self, settings: Settings, weights: NDArray[np.int16], scale: float, bias: list[float]) -> None: ...

def score_texts(models: list[Linear], texts: list[str]) -> NDArray[np.float64]:
    """A row of logits per text: the columns of each model behind one another."""

def score_lines(models: list[Linear], block: bytes, key: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The same of the lines of a block that are not blank, and per line the bytes [start, stop) and whether the text
    was found; the scores of a line where it was not, which needs a closer look, are 0."""

class Trainer:
    def __init__(self, settings: Settings, classes: int) -> None: ...
    def add(self, texts: list[str], label: int) -> None: ...
    def train(
        self, epochs: int, rate: float, seed: int, on_epoch: Callable[[int, float], object]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The weights, (buckets, columns), and the biases; ``on_epoch`` gets the epoch and its mean loss."""

class LanguageModelTrainer:
    def __init__(self, order: int, least_count: int, characters: int) -> None: ...
    def add(self, texts: list[str]) -> None: ...
    def finish(self, on_order: Callable[[], object]) -> None:
        """Counts, estimates and fills the table; ``on_order`` is called twice for each order."""
    def grams(self, n: int) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
        """The tokens of each n-gram kept, (N, n), and the logarithms of its probability and of what is left, (N, 2)."""
    @property
    def kept(self) -> list[int]: ...
    @property
    def unseen(self) -> float: ...
    @property
    def characters(self) -> NDArray[np.uint32]: ...
    @property
    def slots(self) -> NDArray[np.uint64]: ...

class LanguageModel:
    def __init__(
        self, characters: NDArray[np.uint32], order: int, unseen: float, limit: int, slots: NDArray[np.uint64]
    ) -> None: ...
    def mean_log_probabilities(self, texts: list[str]) -> NDArray[np.float64]:
        """Per text, the mean natural logarithm of the probability of a character behind those before it."""
