"""Plain text and Markdown: each file is one document."""

from __future__ import annotations

from steel_megatron.corpus.corpus import Corpus, Kind, name_field, text_field

CORPUS = Corpus(
    name="text",
    about="text and Markdown files, one document each",
    fields={"text": "the file's content", "name": "its path below the folder given"},
    kinds=(Kind.TEXT,),
    template="as it is",
    example={"text": "# 标题\r\n正文", "name": "one.md"},
    text=text_field("text"),
    identity=name_field("name"),
    suffixes=(".txt", ".md", ".markdown"),
)
