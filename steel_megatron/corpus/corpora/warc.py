"""A crawl as WARC files, or as the WET files that Common Crawl makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.corpus import Corpus, Kind, Options, RejectedRecordError, name_field, string
from steel_megatron.corpus.main_text import EXTRACTOR, PAGE_REASONS, main_text, prepare_extractor
from steel_megatron.corpus.published import LANGUAGE


def text_of(record: Mapping[str, Any], options: Options) -> str:
    found = string(record, "language").split(",")[0]
    if options["language"] and found and found not in {each.strip() for each in options["language"].split(",")}:
        raise RejectedRecordError("other_language", found)
    return main_text(record["html"], options) if "html" in record else string(record, "text")


CORPUS = Corpus(
    name="warc",
    about="crawls as WARC or WET files, a document of each page",
    fields={
        "html": "of WARC: the page that a server sent",
        "text": "of WET, or of a page that is plain text: as it is",
        "language": "of WET: the languages that the crawler found, the first one counts",
        "id": "the record's",
    },
    template="of HTML its main text, a block a line; of WET the text",
    example={
        "id": "<urn:uuid:1>",
        "url": "https://example.com/tea",
        "date": "2024-02-20T08:00:00Z",
        "language": "zho,eng",
        "text": "绿茶\n用八十度的水。",
    },
    kinds=(Kind.WARC,),
    text=text_of,
    identity=name_field("id"),
    options=(EXTRACTOR, LANGUAGE),
    prepare=prepare_extractor,
    reasons={
        **PAGE_REASONS,
        "other_language": "its language is none of --language",
        "not_html": "it is no page: a picture, a script, a PDF …",
        "http_status": "the server sent no page: moved, not found, …",
        "revisit": "it stands for a page of an earlier crawl",
        "bad_http": "what the server sent is no HTTP, or cannot be unpacked",
        "bad_warc": "the file is damaged or cut here",
    },
    suffixes=(".warc", ".wet"),
    download="data.commoncrawl.org (segments/*/warc, segments/*/wet)",
    licence="of Common Crawl; pages belong to their authors",
    caution="A file is one part of the work, so give many: a crawl has thousands.",
)
