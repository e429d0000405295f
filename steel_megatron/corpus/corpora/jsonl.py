"""Any records that have a field with text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.corpus import Corpus, Option, string


def text_of(record: Mapping[str, Any], options: Mapping[str, str]) -> str:
    return string(record, options["text_key"])


def identity_of(record: Mapping[str, Any], options: Mapping[str, str]) -> str | None:
    value = record.get(options["id_key"])
    return str(value) if isinstance(value, (str, int)) and value != "" else None


CORPUS = Corpus(
    name="jsonl",
    about="any records with a text field",
    fields={"--text-key": "the text", "--id-key": "a name of the record, if it has one"},
    template="as it is",
    example={"text": "任何文字。", "id": "a-1"},
    text=text_of,
    identity=identity_of,
    options=(
        Option("text_key", "text", "Field that holds the text."),
        Option("id_key", "id", "Field that names the record; file and number do where it is not there."),
    ),
)
