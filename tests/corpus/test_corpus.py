"""Fields of a record: what is taken as text, and the reason where it is not."""

from __future__ import annotations

import pytest

from steel_megatron.corpus.corpus import (
    REASONS,
    Option,
    RejectedRecordError,
    fields_of,
    loose_string,
    name_field,
    optional_string,
    string,
    text_field,
)


@pytest.mark.parametrize(
    ("record", "reason", "detail"),
    [
        ({"a": 3}, "not_a_string", "'a' is int"),
        ({"a": ["x"]}, "not_a_string", "'a' is list"),
        ({"a": None}, "null_field", "'a' is null"),
        ({"b": 1, "c": 2}, "missing_field", "no 'a' among 'b', 'c'"),
        ({}, "missing_field", "no 'a' among none"),
    ],
)
def test_a_field_that_must_hold_text_says_why_it_does_not(record, reason, detail):
    with pytest.raises(RejectedRecordError) as caught:
        text_field("a")(record, {})
    assert (caught.value.reason, caught.value.detail) == (reason, detail)
    assert reason in REASONS


def test_text_is_taken_as_it_is():
    assert string({"a": "  你 "}, "a") == "  你 "
    assert string({"a": ""}, "a") == ""


def test_null_and_missing_are_the_empty_text_where_a_field_is_optional():
    assert (optional_string({"a": None}, "a"), optional_string({}, "a")) == ("", "")
    with pytest.raises(RejectedRecordError, match="not_a_string"):
        optional_string({"a": 0}, "a")


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (2.5, "2.5"), (" x\n", "x"), (None, "")])
def test_a_loose_field_takes_numbers(value, text):
    assert loose_string({"a": value}, "a") == text


def test_a_loose_field_takes_no_truth_values():
    with pytest.raises(RejectedRecordError, match="bool"):
        loose_string({"a": True}, "a")


@pytest.mark.parametrize(("record", "name"), [({"id": "x"}, "x"), ({"id": ""}, None), ({"id": 4}, None), ({}, None)])
def test_a_name_is_a_text_that_is_not_empty(record, name):
    assert name_field("id")(record, {}) == name


def test_fields_name_the_list_in_which_the_records_lie():
    assert "jq -c '.[\"data\"][]'" in fields_of({"n": 1, "data": [{"text": "x"}]})
    assert fields_of({str(i): i for i in range(20)}).count("'") == 2 * 8


def test_the_flag_of_an_option_has_dashes():
    assert Option("max_turns", "3", "help").flag == "--max-turns"
