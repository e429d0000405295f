"""Division of a dataset's documents into training, validation and test."""

from __future__ import annotations

from fractions import Fraction

from steel_megatron.config import ConfigError, exact_number

SPLITS = ("train", "valid", "test")


def parse_split(text: str) -> tuple[Fraction, Fraction, Fraction]:
    """Shares that sum to 1 from ``949,50,1``; missing ones are 0.

    Raises:
        ConfigError: not one to three numbers of 0 or above, or all 0.
    """
    try:
        numbers = [exact_number(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 3 or min(numbers) < 0 or sum(numbers) == 0:
        raise ConfigError(
            f"--split {text}",
            rule="one to three numbers, 0 or above: shares of documents for training, validation, test",
            fix="for example --split 949,50,1 or --split 99,1",
        )
    numbers += [Fraction(0)] * (3 - len(numbers))
    total = sum(numbers)
    train, valid, test = (number / total for number in numbers)
    return train, valid, test


def split_documents(documents: int, text: str) -> dict[str, tuple[int, int]]:
    """First and one-past-last document of each split.

    The boundaries are the cumulative shares times the number of documents, rounded half to even as Megatron-LM does
    (there in floating point, here exactly), so that the splits cover every document once.
    """
    boundaries, cumulative = [0], Fraction(0)
    for share in parse_split(text):
        cumulative += share
        boundaries.append(round(cumulative * documents))
    return {name: (boundaries[i], boundaries[i + 1]) for i, name in enumerate(SPLITS)}
