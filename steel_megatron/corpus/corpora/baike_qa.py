"""Baidu Baike QA (baike_qa2019): questions and answers as JSON lines in baike_qa_train.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.corpus import Corpus, Options, RejectedRecordError, name_field, optional_string, string


def text_of(record: Mapping[str, Any], options: Options) -> str:
    title, more = string(record, "title").strip(), optional_string(record, "desc").strip()
    answer = string(record, "answer").strip()
    if not answer:
        raise RejectedRecordError("no_answer")
    return "\n".join(filter(None, [title, more if more != title else "", answer]))


CORPUS = Corpus(
    name="baike_qa",
    about="Baidu Baike questions and answers (baike_qa2019)",
    fields={
        "title": "the question",
        "desc": "more of it, or the same again",
        "answer": "the answer",
        "qid": "its name",
    },
    template="title, desc where it says something else, answer, on lines of their own",
    example={
        "qid": "qid_1",
        "category": "生活-家居装修",
        "title": "刚装修的房子多久可以入住 ",
        "desc": "家里有老人，想问问要通风多长时间？",
        "answer": "建议至少通风三个月，\r\n检测合格后再入住。",
    },
    text=text_of,
    identity=name_field("qid"),
    reasons={"no_answer": "the answer is empty"},
)
