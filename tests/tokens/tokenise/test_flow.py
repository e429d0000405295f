"""The order of a run's tasks: nothing is put in place before all that comes before it is counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.jobs.parts import InputFile, Part
from steel_megatron.tokens.tokenise import flow, join
from steel_megatron.tokens.tokenise.flow import Block, Flow, blocks_upto, mark_of
from steel_megatron.tokens.tokenise.join import Group, Place, groups_of
from steel_megatron.tokens.tokenise.part import KeyCounts, PartCounts, PartFiles

FILE = InputFile("/a", "a", 1, "1")


def parts_of(count: int) -> list[Part]:
    return [Part(number, FILE, False, 0, 1, 1) for number in range(count)]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.integers(1, 4))
def test_groups_and_blocks_come_when_what_is_before_them_is_done(tokens: list[int], ahead: int) -> None:
    """Results are taken late, as by several workers, and in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "GROUP_BYTES", 40)
        patch.setattr(flow, "BLOCK_BYTES", 100)
        run, waiting, placed, counted = Flow(1, 2), [], 0, 0
        groups, blocks = [], []
        for work in run.tasks(iter(parts_of(len(tokens)))):
            if isinstance(work, Group):
                assert work.stop <= counted
                groups.append(work)
            elif isinstance(work, Block):
                assert work.stop <= placed
                blocks.append(work)
            waiting.append(work)
            while len(waiting) >= ahead:
                first = waiting.pop(0)
                if isinstance(first, Part):
                    run.take(first, PartCounts([KeyCounts(tokens=tokens[first.number])]))
                    counted += 1
                else:
                    run.take(first, {})
                    placed = first.at + first.ids_bytes if isinstance(first, Group) else placed
        starts = [Place(tokens=sum(tokens[:number])) for number in range(len(tokens) + 1)]
        assert groups == groups_of(starts, 2)[: len(groups)]
        assert blocks == blocks_upto(0, 2 * sum(tokens))[: len(blocks)]


def test_nothing_is_put_in_place_before_a_shuffle() -> None:
    run = Flow(0, 2)
    for work in run.tasks(iter(parts_of(3))):
        assert isinstance(work, Part)
        run.take(work, PartCounts([KeyCounts(tokens=1 << 40)]))


def test_blocks_are_the_whole_file() -> None:
    assert blocks_upto(1, 0) == [Block(1, 0, 0, 0)]
    found = blocks_upto(0, (1 << 30) + 5)
    assert [(block.start, block.stop) for block in found] == [(0, 1 << 30), (1 << 30, (1 << 30) + 5)]


def test_marks_have_names_of_their_own(tmp_path: Path) -> None:
    files = PartFiles(str(tmp_path), 2)
    works = [Group(0, 0, 1, 2, 0, 1), Group(0, 0, 1, 2), Block(0, 0, 0, 1), Block(1, 0, 0, 1)]
    assert len({mark_of(files, work).stem for work in works}) == 4
