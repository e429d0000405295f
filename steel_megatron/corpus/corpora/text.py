"""Plain text and Markdown: each file is one document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.corpus import Corpus, Kind, string


def text_of(record: Mapping[str, Any], options: Mapping[str, str]) -> str:
    return string(record, "text")


def identity_of(record: Mapping[str, Any], options: Mapping[str, str]) -> str | None:
    return string(record, "name")


CORPUS = Corpus(
    name="text",
    about="text and Markdown files, one document each",
    fields={"text": "the file's content", "name": "its path below the folder given"},
    kinds=(Kind.TEXT,),
    template="as it is",
    example={"text": "# 标题\r\n正文", "name": "one.md"},
    text=text_of,
    identity=identity_of,
    suffixes=(".txt", ".md", ".markdown"),
)
