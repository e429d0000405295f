"""Filters that need no model, under data-juicer's names; their numbers are data-juicer's.

``words`` is ours: ``spaces`` counts what stands between spaces, as data-juicer does; ``cjk`` counts also each Chinese
or Japanese character as a word, which are written without spaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from steel_megatron._text import Text
from steel_megatron.config import ConfigError
from steel_megatron.corpus.cleaning.operation import NO_LIMIT, Filter, register


@dataclass(kw_only=True)
class RatioFilter(Filter):
    """Limits of a share."""

    min_ratio: float = 0.0
    max_ratio: float = 1.0

    def limits(self) -> tuple[float | None, float | None]:
        return self.min_ratio, self.max_ratio


@dataclass(kw_only=True)
class LengthFilter(Filter):
    """Limits of a length."""

    scale: ClassVar[str] = "count"
    min_len: int = 10
    max_len: int = NO_LIMIT

    def limits(self) -> tuple[float | None, float | None]:
        return self.min_len, self.max_len


def refuse_tokenization(filter_name: str, tokenization: bool, instead: str) -> None:
    """data-juicer downloads a tokenizer for ``tokenization: true``; nothing is downloaded here."""
    if tokenization:
        raise ConfigError(
            f"{filter_name}: tokenization: true",
            rule="data-juicer downloads a model for it; native operations download nothing",
            fix=f"{instead}, or use --engine data-juicer",
        )


def check_repetition_length(filter_name: str, length: int) -> None:
    """Raises :class:`ConfigError` unless the length is above 0."""
    if length < 1:
        raise ConfigError(f"{filter_name}: rep_len: {length}", rule="it is above 0")


@register("alphanumeric_filter")
@dataclass(kw_only=True)
class Alphanumeric(RatioFilter):
    """Share of letters, ideographs and digits among the characters."""

    statistic = "alnum_ratio"
    tokenization: bool = False
    min_ratio: float = 0.25
    max_ratio: float = float(NO_LIMIT)

    def check(self) -> None:
        refuse_tokenization(self.name, self.tokenization, "set it to false")

    def measure(self, text: Text) -> float:
        return text.alphanumeric_ratio()


@register("average_line_length_filter")
@dataclass(kw_only=True)
class AverageLineLength(LengthFilter):
    """Characters per line."""

    statistic = "avg_line_length"

    def measure(self, text: Text) -> float:
        return text.line_lengths()[0]


@register("maximum_line_length_filter")
@dataclass(kw_only=True)
class MaximumLineLength(LengthFilter):
    """Characters of the longest line."""

    statistic = "max_line_length"

    def measure(self, text: Text) -> float:
        return text.line_lengths()[1]


@register("text_length_filter")
@dataclass(kw_only=True)
class TextLength(LengthFilter):
    """Characters of the text."""

    statistic = "text_len"

    def measure(self, text: Text) -> float:
        return len(text)


@register("character_repetition_filter")
@dataclass(kw_only=True)
class CharacterRepetition(RatioFilter):
    """Share of the text that its most frequent n-grams of characters make up."""

    statistic = "char_rep_ratio"
    rep_len: int = 10
    max_ratio: float = 0.5

    def check(self) -> None:
        check_repetition_length(self.name, self.rep_len)

    def measure(self, text: Text) -> float:
        return text.character_repetition(self.rep_len)


@register("special_characters_filter")
@dataclass(kw_only=True)
class SpecialCharacters(RatioFilter):
    """Share of punctuation, digits, white space, signs and emoji among the characters."""

    statistic = "special_char_ratio"
    max_ratio: float = 0.25

    def measure(self, text: Text) -> float:
        return text.special_ratio()


@dataclass(kw_only=True)
class WordFilter(Filter):
    """What filters of words share. ``lang`` names a model in data-juicer and nothing here."""

    ours = frozenset({"words"})
    lang: str = "en"
    tokenization: bool = False
    words: str = "spaces"

    def check(self) -> None:
        refuse_tokenization(self.name, self.tokenization, "use words: cjk for Chinese and Japanese")
        if self.words not in ("spaces", "cjk"):
            raise ConfigError(f"{self.name}: words: {self.words!r}", rule="it is spaces or cjk")

    @property
    def unspaced(self) -> bool:
        """Whether characters of scripts without spaces are words."""
        return self.words == "cjk"


@register("words_num_filter")
@dataclass(kw_only=True)
class WordsNum(WordFilter):
    """Number of words."""

    statistic = "num_words"
    scale = "count"
    min_num: int = 10
    max_num: int = NO_LIMIT

    def measure(self, text: Text) -> float:
        return text.count_words(self.unspaced)

    def limits(self) -> tuple[float | None, float | None]:
        return self.min_num, self.max_num


@register("word_repetition_filter")
@dataclass(kw_only=True)
class WordRepetition(WordFilter, RatioFilter):
    """Share of n-grams of words that occur more than once."""

    statistic = "word_rep_ratio"
    rep_len: int = 10
    max_ratio: float = 0.5

    def check(self) -> None:
        super().check()
        check_repetition_length(self.name, self.rep_len)

    def measure(self, text: Text) -> float:
        if text.has_any("\u0130\u03a3"):  # two capitals that one small letter does not stand for
            text = Text(str(text).lower())
        return text.word_repetition(self.rep_len, self.unspaced)
