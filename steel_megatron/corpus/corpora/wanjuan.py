"""WanJuan 1.0, the texts: JSON lines in .tar.gz files, a folder per subset; exam questions have fields of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.corpus import Corpus, Options, RejectedRecordError, loose_string, name_field, string


def text_of(record: Mapping[str, Any], options: Options) -> str:
    return string(record, "content") if "q_main" not in record or record.get("content") else exam_text(record)


def exam_text(record: Mapping[str, Any]) -> str:
    """Question, a line per option with its letter, answer, explanation; what is not there is left out."""
    options = {letter: loose_string(record, f"option_{letter.lower()}") for letter in "ABCDE"}
    answer = loose_string(record, "std_ans") or _answer(record)
    explanation = loose_string(record, "answer_detail")
    if not answer and not explanation:
        raise RejectedRecordError("no_answer")
    lines = [string(record, "q_main").strip()]
    lines += [f"{letter}. {option}" for letter, option in options.items() if option]
    lines += [f"答案：{answer}"] if answer else []
    lines += [f"解析：{explanation}"] if explanation else []
    return "\n".join(lines)


def _answer(record: Mapping[str, Any]) -> str:
    value = record.get("answer")
    return "、".join(map(str, value)) if isinstance(value, list) else loose_string(record, "answer")


CORPUS = Corpus(
    name="wanjuan",
    about="WanJuan 1.0, texts in Chinese and English, exam questions among them",
    fields={
        "content": "the text",
        "q_main, option_a … option_e, std_ans, answer, answer_detail": "of Exam-cn, which has no content",
        "id": "its name",
    },
    template="content; of an exam: the question, lettered options on lines of their own, answer, explanation",
    example={
        "id": "BkB1",
        "q_type": "单选题",
        "q_main": "下列属于纯净物的是（ ）",
        "option_a": "空气",
        "option_b": "海水",
        "option_c": "蒸馏水",
        "option_d": "",
        "std_ans": "C",
        "answer_detail": "蒸馏水只由水分子构成。",
    },
    text=text_of,
    identity=name_field("id"),
    reasons={"no_answer": "an exam question with neither answer nor explanation"},
)
