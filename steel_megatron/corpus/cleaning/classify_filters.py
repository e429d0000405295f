"""Filters by classifiers of our own: quality, as examples teach it, and language. docs/classify.md tells of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steel_megatron._classify import Linear, score_texts
from steel_megatron._text import Text
from steel_megatron.config import ConfigError
from steel_megatron.corpus.classify.language import LANGUAGE_MODEL
from steel_megatron.corpus.classify.language_model import read_ngrams
from steel_megatron.corpus.classify.model import probabilities_of, read_classifier
from steel_megatron.corpus.classify.ranks import STEPS, Ranks
from steel_megatron.corpus.cleaning.operation import Filter, Judgement, register
from steel_megatron.jobs.hashes import xxh3_of


def paths_in(given: str | Sequence[str] | None) -> list[str]:
    """A parameter that names one file or several."""
    return [given] if isinstance(given, str) and given else list(given or ())


def hashes_of(*given: str | Sequence[str] | None) -> str:
    """Names the content of the files that parameters name; those that are not there are told of elsewhere."""
    paths = [Path(path) for parameter in given for path in paths_in(parameter)]
    return " ".join(xxh3_of(path) for path in paths if path.is_file())


@register("quality_score_filter")
@dataclass(kw_only=True)
class QualityScore(Filter):
    """Score of the text by classifiers of ours (steel classify train); by several, the largest rank."""

    statistic = "quality"
    ours = frozenset({"models", "ranks", "min_score", "max_score"})
    models: str = ""
    ranks: str = ""
    min_score: float = 0.0
    max_score: float = 1.0
    _models: list[Linear] = field(default_factory=list, init=False, repr=False)
    _ranks: Ranks | None = field(default=None, init=False, repr=False)

    def check(self) -> None:
        paths = paths_in(self.models)
        if not paths:
            raise ConfigError(
                f"{self.name}: no models", rule="it names the files of classifiers", fix="models: [quality.classifier]"
            )
        classifiers = [read_classifier(path, f"{self.name}: models:") for path in paths]
        many = next((each for each in classifiers if each.columns > 1), None)
        if many is not None:
            raise ConfigError(
                f"{self.name}: {many.name} tells {len(many.labels)} labels apart",
                rule="a score is of a classifier of two labels",
                fix="use language_filter with it",
            )
        if self.ranks:
            digests = {each.name: each.digest for each in classifiers}
            self._ranks = Ranks.read(self.ranks, digests, f"{self.name}: ranks")
        elif len(classifiers) > 1:
            raise ConfigError(
                f"{self.name}: {len(classifiers)} models without ranks",
                rule="several classifiers are combined by the largest rank",
                fix="name the .ranks.json that steel classify score wrote of a sample by these models",
            )
        self._models = [each.linear for each in classifiers]

    @classmethod
    def depends_on(cls, parameters: Mapping[str, Any]) -> str:
        return hashes_of(parameters.get("models"), parameters.get("ranks"))

    def limits(self) -> tuple[float | None, float | None]:
        return self.min_score, self.max_score

    def measure(self, text: Text) -> float:
        logits = score_texts(self._models, [str(text)])
        if self._ranks is None:
            return float(probabilities_of(logits)[0])
        return float(self._ranks.steps_of(logits.astype(np.float32))[0] / STEPS)


@register("language_filter")
@dataclass(kw_only=True)
class Language(Filter):
    """Language of the text by the classifier shipped, or another of ours; how sure it is lies between the limits."""

    statistic = "language_score"
    ours = frozenset({"lang", "model", "min_score"})
    lang: str = ""
    model: str = ""
    min_score: float = 0.0
    _classifier: Any = field(default=None, init=False, repr=False)

    def check(self) -> None:
        self._classifier = read_classifier(self.model or LANGUAGE_MODEL, f"{self.name}: model:")
        unknown = [label for label in paths_in(self.lang) if label not in self._classifier.labels]
        if unknown:
            raise ConfigError(
                f"{self.name}: lang: {', '.join(unknown)}",
                rule=f"{self._classifier.name} knows {', '.join(self._classifier.labels)}",
                fix="name some of these",
            )

    @classmethod
    def depends_on(cls, parameters: Mapping[str, Any]) -> str:
        return hashes_of(parameters.get("model") or str(LANGUAGE_MODEL))

    def limits(self) -> tuple[float | None, float | None]:
        return self.min_score, None

    def judge(self, text: Text) -> Judgement:
        language, score = self._classifier.label_of(str(text))
        wanted = paths_in(self.lang)
        if wanted and language not in wanted:
            other = f"not {' or '.join(wanted)}"
            return Judgement(score, f"language {language}, {other}", f"language {other}")
        if score >= self.min_score:
            return Judgement(score)
        below = f"below {self.min_score}"
        return Judgement(score, f"language_score {score:.6g} {below}", f"language_score {below}")


@register("ngram_perplexity_filter")
@dataclass(kw_only=True)
class NgramPerplexity(Filter):
    """Perplexity of a character by a language model of ours (steel classify train-ngram)."""

    statistic = "ngram_perplexity"
    scale = "count"
    ours = frozenset({"model", "min_ppl", "max_ppl"})
    model: str = ""
    min_ppl: float = 0.0
    max_ppl: float = float("inf")
    _ngrams: Any = field(default=None, init=False, repr=False)

    def check(self) -> None:
        if not self.model:
            raise ConfigError(
                f"{self.name}: no model", rule="it names the file of a language model", fix="steel classify train-ngram"
            )
        self._ngrams = read_ngrams(self.model, f"{self.name}: model:")

    @classmethod
    def depends_on(cls, parameters: Mapping[str, Any]) -> str:
        return hashes_of(parameters.get("model"))

    def limits(self) -> tuple[float | None, float | None]:
        return self.min_ppl, self.max_ppl

    def measure(self, text: Text) -> float:
        return float(self._ngrams.perplexities([str(text)])[0])
