"""SkyPile-150B: Chinese web pages, JSON lines named like 2020-40_zh_head_0000.jsonl."""

from __future__ import annotations

from steel_megatron.corpus.corpus import Corpus, text_field

CORPUS = Corpus(
    name="skypile",
    about="SkyPile-150B, Chinese web pages",
    fields={"text": "the page, paragraphs separated by line feeds"},
    template="as it is",
    example={"text": "第一章 总则\n第一条（略）。\n"},
    text=text_field("text"),
)
