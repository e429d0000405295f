"""Counting pre-tokens part by part: rejects, shares, and ranges of hashes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.bpe_peer import mixed_texts
from helpers.json_lines import LINES, write_lines
from steel_megatron._bpe_train import Trainer, section_sizes
from steel_megatron.config import DataError
from steel_megatron.jobs.inputs import Input
from steel_megatron.jobs.parts import InputFile, whole_file
from steel_megatron.tokenizer.train import byte_ids
from steel_megatron.tokens.vocabulary.count import (
    CountJob,
    HashRange,
    MergeJob,
    TextPart,
    count_part,
    hash_ranges,
    merge_range,
)

LAST = (1 << 64) - 1


def part_of(path, number=0, share=None):
    whole = whole_file(InputFile.of(Input(str(path), path.name, searched=False)))
    return TextPart(**{**vars(whole), "number": number}, share=share)


def test_lines_that_are_no_record_are_counted_by_reason(tmp_path):
    path = write_lines(tmp_path / "a.jsonl.gz", [*LINES, b"", "字"])
    job = CountJob(str(tmp_path), "text", 4, 1 << 20)
    counts = count_part(job, part_of(path))
    reasons = [reason for reason in LINES.values() if reason]
    assert counts["rejects"] == {reason: reasons.count(reason) for reason in set(reasons)} | {"too_long": 0}
    assert counts["documents"] == len(LINES) - len(reasons) + 1
    assert job.task(part_of(path)).done() == counts


def test_a_share_ends_with_the_text_that_fills_it(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", ["b" * 89] * 900)
    job = CountJob(str(tmp_path), "text", 1, 1 << 20)
    for number, (share, taken) in enumerate([(0, 1), (1, 1), (89, 1), (90, 2), (1e9, 900)]):
        assert count_part(job, part_of(path, number, share))["documents"] == taken


@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**5)), min_size=1, max_size=5),
    st.integers(10**4, 10**8),
)
def test_ranges_hold_every_hash_once(sizes, memory):
    sections = [sizes[number % len(sizes)] for number in range(8)]
    ranges = hash_ranges(sections, memory)
    if any(max(size) for size in sizes):
        assert [ranges[0].first, ranges[-1].last] == [0, LAST]
        assert all(left.last + 1 == right.first for left, right in pairwise(ranges))
    else:
        assert ranges == []


@pytest.mark.parametrize("memory", [1, 1 << 30])
def test_ranges_and_segments_add_up_to_the_same(memory, tmp_path):
    """A tiny table goes to the file many times; the counts of all are the same."""
    paths = [write_lines(tmp_path / f"{seed}.jsonl", mixed_texts(seed)) for seed in range(3)]
    job = CountJob(str(tmp_path), "text", 8, memory)
    for number, path in enumerate(paths):
        count_part(job, part_of(path, number))
    files = tuple(str(job.task(part_of(path, number)).file(".counts")) for number, path in enumerate(paths))
    sections = section_sizes(list(files))
    merge = MergeJob(str(tmp_path), files)
    merge_range(merge, everything := HashRange(0, LAST, 0, 1 << 30))
    # Each with room for less than a section.
    ranges = hash_ranges(sections, max(sections)[0])
    assert len(ranges) > 8
    counted = sum(merge_range(merge, of)["pretokens"] for of in ranges)
    both = []
    for of in ([everything], ranges):
        trainer = Trainer([str(merge.task(one).file(".counts")) for one in of], byte_ids(), 1 << 30, 1 << 30)
        trainer.train(600, lambda tokens: None)
        assert trainer.kept.counted_pretokens == counted
        both.append((trainer.tokens, trainer.merges))
    assert both[0] == both[1]


def test_too_small_a_table_says_so(tmp_path):
    letters = [chr(code) for code in range(97, 123)]
    words = [a + b + c for a in letters for b in letters for c in letters]
    path = write_lines(tmp_path / "a.jsonl", [" ".join(words)])
    job = CountJob(str(tmp_path), "text", 1, 1 << 20)
    count_part(job, part_of(path))
    merge = MergeJob(str(tmp_path), (str(job.task(part_of(path)).file(".counts")),))
    with pytest.raises(DataError, match="too many pre-tokens"):
        merge_range(merge, HashRange(0, LAST, 0, 1))
