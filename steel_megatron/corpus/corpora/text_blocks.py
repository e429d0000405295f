"""Text files, documents separated by blank lines."""

from __future__ import annotations

from steel_megatron.corpus.corpus import Corpus, Kind, text_field

CORPUS = Corpus(
    name="text_blocks",
    about="text files, documents separated by blank lines",
    fields={"text": "the lines between two blank ones"},
    kinds=(Kind.BLOCKS,),
    template="as it is",
    example={"text": "绿茶\n用八十度的水。"},
    text=text_field("text"),
    suffixes=(".txt", ".text"),
)
