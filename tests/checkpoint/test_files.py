"""A checkpoint folder's files against their records, and markers that do not say what they should."""

from __future__ import annotations

import json

import pytest

from steel_megatron.checkpoint.files import (
    FACTS,
    MARKER,
    problem_with,
    problems_with,
    read_marker,
    record_of,
    step_named_in,
    write_bytes,
)
from steel_megatron.jobs.durable import write_json


def test_what_is_wrong_with_a_file_is_told(tmp_path):
    path = tmp_path / "x"
    write_bytes(path, b"abc")
    record = record_of(path)
    assert problem_with(path, record) == ""
    path.write_bytes(b"abd")
    assert "x is damaged" in problem_with(path, record)
    path.write_bytes(b"ab")
    assert problem_with(path, record) == "x has 2 bytes, expected 3"
    path.unlink()
    assert problem_with(path, record) == "x is missing"


def test_only_the_named_files_are_read(tmp_path):
    records = {name: {"bytes": 1, "xxh3": "0"} for name in ("a", "b", "c")}
    assert problems_with(tmp_path, records, ["c", "a"]) == ["c is missing", "a is missing"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing"),
        ("{", "cannot be read"),
        ("[]", "lists no files"),
        ('{"files": 3}', "lists no files"),
        ('{"files": {"a": {"bytes": 1}}}', "no size and hash of a"),
        ('{"files": {"a": {"bytes": 1, "xxh3": "0"}}}', "does not list facts.json"),
    ],
)
def test_markers_that_do_not_say_what_they_should(tmp_path, content, message):
    if content is not None:
        (tmp_path / MARKER).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_marker(tmp_path, needed=(FACTS,))


def test_a_marker_is_read(tmp_path):
    records = {FACTS: {"bytes": 1, "xxh3": "0"}}
    write_json(tmp_path / MARKER, {"files": records})
    assert read_marker(tmp_path, needed=(FACTS,)) == records


@pytest.mark.parametrize(
    ("facts", "step"),
    [({"state": {"step": 7}}, 7), ({"state": {"step": "7"}}, None), ({"state": []}, None), ([], None), ({}, None)],
)
def test_the_step_of_facts(tmp_path, facts, step):
    assert step_named_in(tmp_path) is None
    (tmp_path / FACTS).write_text(json.dumps(facts))
    assert step_named_in(tmp_path) == step
