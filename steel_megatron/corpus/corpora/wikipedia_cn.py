"""Chinese Wikipedia, filtered (pleisto/wikipedia-cn-20230720-filtered): one JSON array of all entries."""

from __future__ import annotations

from steel_megatron.corpus.corpus import Corpus, text_field

CORPUS = Corpus(
    name="wikipedia_cn",
    about="Chinese Wikipedia of 2023-07-20, filtered by pleisto",
    fields={"completion": "the entry, its title inside"},
    template="as it is; the title is inside",
    example={"completion": "算盘（珠算）是一种工具。", "source": "wikipedia.zh2307"},
    text=text_field("completion"),
)
