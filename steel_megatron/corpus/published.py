"""Corpora of texts with scores, a language or a category beside them, and the options that choose by these."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from steel_megatron.config import ConfigError
from steel_megatron.corpus.corpus import (
    Corpus,
    Option,
    Options,
    RejectedRecordError,
    fields_of,
    name_field,
    string,
)

MIN_SCORE = Option("min_score", "", "Records with a lower score are rejected; not given: none.")
SCORE_FIELD = Option("score_field", "", "Where --min-score finds it, as meta.quality; not given: as it is published.")
MAX_TOXICITY = Option("max_toxicity", "", "Records with a higher toxicity score are rejected; not given: none.")
LANGUAGE = Option(
    "language", "", "Records in other languages are rejected, as the corpus writes them, separated by commas."
)
CATEGORY = Option(
    "category", "", "Records of other categories (source, domain, industry, dataType) are rejected; with commas."
)
SPLIT = Option(
    "split", "train", "Files of a folder whose place or name says another split (test, validation …) are left."
)
SPLITS = ("train", "test", "validation", "valid", "val", "dev", "eval")

_NO_SCORE = {"no_score": "a score that is asked for is not there, or no number"}
_REASONS = {
    "min_score": {"low_score": "its score is lower than --min-score", **_NO_SCORE},
    "max_toxicity": {"toxic": "its toxicity score is higher than --max-toxicity", **_NO_SCORE},
    "language": {"other_language": "its language is none of --language"},
    "category": {"other_category": "its category is none of --category"},
}


def published(
    name: str,
    about: str,
    fields: Mapping[str, str],
    example: Mapping[str, Any],
    *,
    text: Sequence[str] = ("text",),
    identity: str = "id",
    min_score: Sequence[str] = (),
    max_toxicity: Sequence[str] = (),
    language: Sequence[str] = (),
    category: Sequence[str] = (),
    split: bool = False,
    **more: str,
) -> Corpus:
    """A row of the table.

    Args:
        text: fields, the first that is there holds the text.
        identity: the field with a name of the record.
        min_score, max_toxicity, language, category: where the option of that name finds what it compares, as
            ``domain.single_label``; the first place that holds something counts. None: the corpus has no such option.
        split: its files lie in folders ``train`` and ``test``.
        more: words for people, as of :class:`Corpus`; the template is "as it is" unless given.
    """
    places = {MIN_SCORE: min_score, MAX_TOXICITY: max_toxicity, LANGUAGE: language, CATEGORY: category}
    used = {option: where for option, where in places.items() if where}

    def text_of(record: Mapping[str, Any], options: Options) -> str:
        for option, where in used.items():
            if options[option.name]:
                named = options.get("score_field") if option is MIN_SCORE else ""
                _compare(option, _first(record, (named,) if named else where, option), options[option.name])
        return string(record, next((field for field in text if record.get(field) is not None), text[0]))

    reasons = {reason: says for option in used for reason, says in _REASONS[option.name].items()}
    words: dict[str, Any] = {"template": "as it is", **more}
    return Corpus(
        name=name,
        about=about,
        fields=fields,
        text=text_of,
        example=example,
        identity=name_field(identity),
        options=(*used, *((SCORE_FIELD,) if min_score else ()), *((SPLIT,) if split else ())),
        reasons=reasons,
        prepare=_checked,
        splits=SPLITS if split else (),
        **words,
    )


def _checked(options: Options) -> Options:
    """
    Raises:
        ConfigError: a limit that is no number.
    """
    for option in (MIN_SCORE, MAX_TOXICITY):
        value = options.get(option.name, "")
        try:
            float(value or 0)
        except ValueError:
            raise ConfigError(f"{option.flag} {value}", rule="it is a number") from None
    return options


def _compare(option: Option, found: Any, wanted: str) -> None:
    """
    Raises:
        RejectedRecordError: the record is not among those wanted.
    """
    if option in (MIN_SCORE, MAX_TOXICITY):
        score = _number(found)
        if option is MIN_SCORE and not score >= float(wanted):  # as a score of NaN
            raise RejectedRecordError("low_score", str(found))
        if option is MAX_TOXICITY and not score <= float(wanted):
            raise RejectedRecordError("toxic", str(found))
        return
    among = {each.strip().casefold() for each in wanted.split(",")}
    values = found if isinstance(found, list) else [found]
    if among.isdisjoint(str(value).strip().casefold() for value in values):
        raise RejectedRecordError("other_language" if option is LANGUAGE else "other_category", str(found)[:200])


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise RejectedRecordError("no_score", str(value)[:200]) from None


def _first(record: Mapping[str, Any], where: Sequence[str], option: Option) -> Any:
    """What stands at the first of these places that holds something; objects written as JSON text are opened.

    Raises:
        RejectedRecordError: ``no_score``; a language or category that is not there is another one.
    """
    for place in where:
        value: Any = record
        for name in place.split("."):
            if isinstance(value, str):
                try:
                    value = json.loads(value)
                except ValueError:
                    break
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            return value
    if option in (MIN_SCORE, MAX_TOXICITY):
        raise RejectedRecordError("no_score", f"nothing at {', '.join(where)} among {fields_of(record)}")
    return None
