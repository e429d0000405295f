"""A record while it is cleaned: operations change the text, and never the marks in it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron._text import Text
from steel_megatron.corpus import RejectedRecordError
from steel_megatron.corpus.cleaning.document import Document
from steel_megatron.corpus.cleaning.operation import Mapper

MARK = "<|end|>"


class Doubling(Mapper):
    def apply(self, text: Text) -> None:
        text.set(str(text).strip().replace("a", "aa"))


def marked(stretches: list[str]) -> dict[str, Any]:
    text, control = stretches[0], []
    for stretch in stretches[1:]:
        control.append([len(text), len(text) + len(MARK)])
        text += MARK + stretch
    return {"text": text, "control": control}


@given(st.lists(st.text("a中 \n<😀"), min_size=1, max_size=5).filter(lambda parts: any(map(str.strip, parts))))
def test_marks_are_where_they_were_between_the_changed_stretches(stretches: list[str]) -> None:
    document = Document(marked(stretches), "text")
    assert len(document) == sum(map(len, stretches)) == len(document.plain())
    document.apply(Doubling())
    record = document.finish()
    changed = [part.replace("a", "aa") for part in stretches]
    if len(stretches) == 1:
        assert record["text"] == changed[0].strip()  # no template, whose white space would stay
    else:
        assert record == marked(changed)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "missing_field"),
        ({"text": None}, "null_field"),
        ({"text": 3}, "not_a_string"),
        ({"text": "\ud800"}, "lone_surrogate"),
        ({"text": "abc", "control": 1}, "bad_control"),
        ({"text": "abc", "control": [[0]]}, "bad_control"),
        ({"text": "abc", "control": [[1, 1]]}, "bad_control"),
        ({"text": "abc", "control": [[1, 4]]}, "bad_control"),
        ({"text": "abc", "control": [[1, 3], [2, 3]]}, "bad_control"),
    ],
)
def test_what_is_no_document(record: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedRecordError) as error:
        Document(record, "text")
    assert error.value.reason == reason


def test_marks_alone_are_no_text() -> None:
    with pytest.raises(RejectedRecordError, match="empty"):
        Document(marked(["", " \n", ""]), "text").finish()
