"""Text files, a document in each line."""

from __future__ import annotations

from steel_megatron.corpus.corpus import Corpus, Kind, text_field

CORPUS = Corpus(
    name="text_lines",
    about="text files, a document in each line",
    fields={"text": "the line"},
    kinds=(Kind.LINES,),
    template="as it is",
    example={"text": "绿茶用八十度的水。"},
    text=text_field("text"),
    suffixes=(".txt", ".text"),
)
