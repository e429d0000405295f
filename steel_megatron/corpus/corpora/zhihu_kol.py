"""Zhihu-KOL: questions and answers in parquet, the votes of an answer inside a field of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from steel_megatron.config import AMOUNT
from steel_megatron.corpus.corpus import Corpus, Option, Options, RejectedRecordError, string

_VOTES = re.compile(r"赞同\s*(?:([0-9][0-9,]*(?:\.[0-9]+)?)\s*([万亿]?))?\s*")
_UNITS = {"": 1, "万": 10_000, "亿": 100_000_000}


def text_of(record: Mapping[str, Any], options: Options) -> str:
    question, answer = string(record, "INSTRUCTION").strip(), string(record, "RESPONSE").strip()
    votes = votes_of(string(record, "METADATA"))
    if votes < int(options["min_upvotes"]):
        raise RejectedRecordError("few_upvotes", f"{votes:,}")
    if not answer:
        raise RejectedRecordError("no_answer")
    return "\n".join(filter(None, [question, answer]))


def votes_of(metadata: str) -> int:
    """The count in upvotes, which says 赞同 4432, 赞同 1.5 万 (15,000) or 赞同 (none)."""
    try:
        words = json.loads(metadata)["upvotes"]
        count, unit = _VOTES.fullmatch(words.strip()).groups()  # type: ignore[union-attr]  # no match is caught
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RejectedRecordError("bad_metadata", metadata[:200]) from None
    return round(float(count.replace(",", "")) * _UNITS[unit]) if count else 0


CORPUS = Corpus(
    name="zhihu_kol",
    about="Zhihu-KOL, questions and upvoted answers",
    fields={"INSTRUCTION": "the question", "RESPONSE": "the answer", "METADATA": "JSON, its upvotes"},
    template="question, answer, on lines of their own",
    example={
        "INSTRUCTION": "怎样养成早起的习惯？",
        "RESPONSE": "关键是早睡。",
        "SOURCE": "Zhihu",
        "METADATA": '{"question_id": 1.0, "answer_id": 2.0, "url": "https://…", "upvotes": "赞同 1.5 万"}',
    },
    text=text_of,
    options=(Option("min_upvotes", "100", "Answers with fewer upvotes are rejected.", allowed=AMOUNT),),
    reasons={
        "few_upvotes": "the answer has fewer upvotes than --min-upvotes",
        "bad_metadata": "METADATA is not JSON with upvotes that can be read",
        "no_answer": "the answer is empty",
    },
)
