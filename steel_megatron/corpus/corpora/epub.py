"""Books as EPUB: each file is one document."""

from __future__ import annotations

from steel_megatron.corpus.corpus import Corpus, Kind, name_field, text_field

CORPUS = Corpus(
    name="epub",
    about="books as EPUB, one document each",
    fields={"text": "the chapters, in the order of the spine", "name": "its path below the folder given"},
    template="a block a line",
    example={"text": "第一章\n茶起源于西南。", "name": "tea.epub"},
    kinds=(Kind.EPUB,),
    text=text_field("text"),
    identity=name_field("name"),
)
