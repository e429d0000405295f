"""A part of a file is cleaned line by line; whatever happens with one costs that one."""

from __future__ import annotations

import json

import pytest

from helpers.corpus_files import write_json_lines
from helpers.null_tokens import parts_of_file
from steel_megatron.corpus.cleaning.part import DOCUMENTS, DROPPED, Cleaner, CleanJob, clean_part
from steel_megatron.corpus.cleaning.recipe import build_steps
from steel_megatron.jobs.unpack import read_content

STEPS = (("whitespace_normalization_mapper", {}), ("text_length_filter", {"min_len": 3}))
RECORDS = [{"text": "long\u3000enough", "n": 1}, {"text": "ab", "id": "s", "source": "web"}, b"", b"{no json"]


def lines_of(path) -> list[dict]:
    return [json.loads(line) for line in b"".join(read_content(path)).splitlines()]


def test_lines_are_kept_changed_or_dropped_with_their_place(tmp_path):
    path = write_json_lines(tmp_path / "a.jsonl", RECORDS)
    (tmp_path / "work").mkdir()
    job = CleanJob(STEPS, "text", False, str(tmp_path / "work"))
    (part,) = parts_of_file(path)
    counts = clean_part(job, part)
    assert lines_of(job.task(part).file(DOCUMENTS)) == [{"text": "long enough", "n": 1}]
    short, bad = lines_of(job.task(part).file(DROPPED))
    assert (short["operation"], short["id"], short["source"]) == ("text_length_filter", "s", "web")
    assert short["byte"] == len(path.read_bytes().splitlines(keepends=True)[0])
    assert (bad["operation"], bad["reason"], bad["content"]) == ("read", "bad_json", "{no json")
    assert (counts["records"], counts["documents"]) == (3, 1)
    assert job.task(part).done() is not None


def test_the_names_of_parts_change_with_what_they_are_made_of(tmp_path):
    (part,) = parts_of_file(write_json_lines(tmp_path / "a.jsonl", RECORDS))
    jobs = [
        CleanJob(STEPS, "text", False, "work"),
        CleanJob(STEPS[:1], "text", False, "work"),
        CleanJob(STEPS, "content", False, "work"),
        CleanJob(STEPS, "text", True, "work"),
        CleanJob(STEPS, "text", False, "work", tokenizer="null:"),
    ]
    assert len({job.task(part).stem for job in jobs}) == len(jobs)


@pytest.mark.parametrize(
    ("line", "whole", "operation", "reason"),
    [
        (b'{"text": "cut off he', False, "read", "too_long"),
        (b'{"other": "x"}', True, "read", "missing_field"),
        (b'{"text": "   "}', True, "text_length_filter", None),
    ],
)
def test_a_drop_says_at_which_operation(line, whole, operation, reason):
    cleaner = Cleaner(build_steps(STEPS), "text")
    assert cleaner.clean(line, whole, {"file": "a", "byte": 0}) is None
    drop = json.loads(cleaner.last_drop)
    assert drop["operation"] == operation
    assert reason in (None, drop["reason"])
    assert (cleaner.tally.records, cleaner.tally.dropped, cleaner.tally.documents) == (1, 1, 0)


def test_tokens_are_counted_behind_mappers_that_change_them():
    cleaner = Cleaner(build_steps(STEPS), "text", count_tokens=len)
    assert cleaner.clean(b'{"text": "  four  ", "source": "s"}', True, {})
    assert [amount[2] for amount in cleaner.tally.amounts["s"]] == [8, 4, 4, 4]
