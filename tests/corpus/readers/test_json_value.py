"""One JSON value: what Python takes is taken, and what is none says what may be the cause."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.corpus import RejectedRecordError
from steel_megatron.corpus.readers.json_value import parse_json, parse_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_what_python_writes_is_read(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value  # half surrogates and numbers of any length, too


def test_nan() -> None:
    assert math.isnan(parse_object(b'{"a": NaN}')["a"])


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (b"[1]", "not_an_object", "it is list"),
        (b'{"a": "\xff"}', "bad_utf8", "at byte 7"),
        (b'{"a": 1} {"a": 2}', "bad_json", "jq -c"),
        (b'{"a": 1}\r{"a": 2}', "bad_json", "old Macs"),
        ('{"a": 1}'.encode("utf-16-le"), "bad_json", "iconv"),
        (b'{"a": ', "bad_json", "Expecting value"),
        (b"[" * 100_000, "bad_json", "nested too deeply"),
    ],
)
def test_refused(data: bytes, reason: str, says: str) -> None:
    with pytest.raises(RejectedRecordError) as error:
        parse_object(data)
    assert error.value.reason == reason
    assert says in error.value.detail
