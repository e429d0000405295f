"""PDF files: each is one document."""

from __future__ import annotations

from steel_megatron.corpus.corpus import Corpus, Kind, name_field, text_field

CORPUS = Corpus(
    name="pdf",
    about="PDF files that hold text, one document each",
    fields={
        "text": "the text of all pages, without heads, feet and page numbers",
        "name": "its path below the folder given",
    },
    template="a paragraph a line: lines, words and sentences that pages break are joined",
    example={"text": "第一章\n本办法适用于小区道路。", "name": "rules.pdf"},
    kinds=(Kind.PDF,),
    text=text_field("text"),
    identity=name_field("name"),
)
