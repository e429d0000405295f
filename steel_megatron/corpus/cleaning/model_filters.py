"""Filters that need a model. They name its file; nothing is downloaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from steel_megatron._text import Text
from steel_megatron.config import ConfigError
from steel_megatron.corpus.cleaning.operation import Filter, Judgement, register
from steel_megatron.jobs.needed import needed


def model_file(operation: str, parameter: str, path: str, what: str) -> str:
    """The path, if a file is there.

    Raises:
        ConfigError: it is not given or not there.
    """
    if not path or not Path(path).is_file():
        raise ConfigError(
            f"{operation}: {parameter}: {path or 'not given'}",
            rule=f"it is the file of {what}; nothing is downloaded",
            fix=f"get the file and name it by {parameter}, or leave {operation} out",
        )
    return path


@register("language_id_score_filter")
@dataclass(kw_only=True)
class LanguageIdScore(Filter):
    """Language of the text by a fastText model, and how sure it is. ``model_path`` names lid.176.bin or .ftz."""

    statistic = "lang_score"
    ours = frozenset({"model_path"})
    lang: str = ""
    min_score: float = 0.8
    model_path: str = ""
    _model: Any = field(default=None, init=False, repr=False)

    def check(self) -> None:
        path = model_file(self.name, "model_path", self.model_path, "a fastText language model (lid.176.bin)")
        fasttext = needed("fasttext", self.name, "pip install fasttext")
        self._model = fasttext.load_model(path)

    def limits(self) -> tuple[float | None, float | None]:
        return self.min_score, None

    def judge(self, text: Text) -> Judgement:
        labels, scores = self._model.predict(str(text).lower().replace("\n", " "))
        language, score = labels[0].removeprefix("__label__"), float(scores[0])
        wanted = [self.lang] if isinstance(self.lang, str) else list(self.lang)
        if any(wanted) and language not in wanted:
            other = f"not {' or '.join(wanted)}"
            return Judgement(score, f"lang {language}, {other}", f"lang {other}")
        if score >= self.min_score:
            return Judgement(score)
        return Judgement(score, f"lang_score {score:.6g} below {self.min_score}", f"lang_score below {self.min_score}")


@register("perplexity_filter")
@dataclass(kw_only=True)
class Perplexity(Filter):
    """Perplexity by a KenLM model over SentencePiece pieces. ``model_path`` and ``tokenizer_path`` name their files."""

    statistic = "perplexity"
    scale = "count"
    ours = frozenset({"model_path", "tokenizer_path"})
    lang: str = "en"
    min_ppl: float = 0.0
    max_ppl: float = 1500.0
    model_path: str = ""
    tokenizer_path: str = ""
    _model: Any = field(default=None, init=False, repr=False)
    _tokenizer: Any = field(default=None, init=False, repr=False)

    def check(self) -> None:
        model = model_file(self.name, "model_path", self.model_path, "a KenLM model (zh.arpa.bin)")
        pieces = model_file(self.name, "tokenizer_path", self.tokenizer_path, "its SentencePiece model (zh.sp.model)")
        self._model = needed("kenlm", self.name, "pip install kenlm").Model(model)
        self._tokenizer = needed("sentencepiece", self.name).SentencePieceProcessor(model_file=pieces)

    def limits(self) -> tuple[float | None, float | None]:
        return self.min_ppl, self.max_ppl

    def measure(self, text: Text) -> float:
        score, length = 0.0, 0
        for line in " ".join(self._tokenizer.encode_as_pieces(str(text))).splitlines():
            score += self._model.score(line)
            length += len(line.split()) + 1
        return float(round(10.0 ** (-score / length), 1)) if length else 0.0
