"""Pages of HTML, a file each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.corpus import Corpus, Kind, Options, name_field, string
from steel_megatron.corpus.main_text import EXTRACTOR, PAGE_REASONS, main_text, prepare_extractor


def text_of(record: Mapping[str, Any], options: Options) -> str:
    return main_text(string(record, "html"), options)


CORPUS = Corpus(
    name="html",
    about="pages of HTML, one document each",
    fields={"html": "the file's content", "name": "its path below the folder given"},
    template="its main text, a block a line",
    example={"html": "<html><body><p>石板街位于老城区，长三百米。</p></body></html>", "name": "street.html"},
    kinds=(Kind.HTML,),
    text=text_of,
    identity=name_field("name"),
    options=(EXTRACTOR,),
    prepare=prepare_extractor,
    reasons=PAGE_REASONS,
    suffixes=(".html", ".htm", ".xhtml", ".shtml"),
)
