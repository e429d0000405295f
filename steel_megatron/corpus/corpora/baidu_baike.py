"""BaiduBaike-5.63M: an encyclopedia as JSON lines in 563w_baidubaike.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.corpus import Corpus, Options, RejectedRecordError, optional_string

_FOOTNOTE = re.compile(r"\[[1-9]\d{0,2}(?:[-–,，][1-9]\d{0,2})*\]")


def text_of(record: Mapping[str, Any], options: Options) -> str:
    title, summary = _field(record, "title"), _field(record, "summary")
    sections = record.get("sections") or []
    if not isinstance(sections, list) or not all(isinstance(section, Mapping) for section in sections):
        raise RejectedRecordError("bad_sections", type(sections).__name__)
    body = [summary, *(part for section in sections for part in _section(section))]
    if not any(body):
        raise RejectedRecordError("no_body", repr(title))
    return "\n".join(filter(None, [title, *body]))


def _section(section: Mapping[str, Any]) -> tuple[str, str]:
    """Heading and body; a heading with nothing below says nothing."""
    content = _field(section, "content")
    return (_field(section, "title"), content) if content else ("", "")


def _field(record: Mapping[str, Any], name: str) -> str:
    return _FOOTNOTE.sub("", optional_string(record, name)).strip()


CORPUS = Corpus(
    name="baidu_baike",
    about="BaiduBaike-5.63M, a Chinese encyclopedia",
    fields={"title": "the entry's name", "summary": "null in most", "sections": "title and content of each"},
    template="title, summary if any, each section as heading and body, on lines of their own; footnote marks go",
    example={
        "title": "绿豆汤",
        "summary": None,
        "sections": [{"title": "做法", "content": "绿豆洗净，加水煮至开花。[1]"}],
        "tags": ["饮食"],
        "url": "http://baike.baidu.com/view/1.htm",
    },
    text=text_of,
    reasons={
        "no_body": "neither a summary nor a section with content",
        "bad_sections": "sections is no list of objects",
    },
)
