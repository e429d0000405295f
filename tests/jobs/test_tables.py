"""Tables of words."""

from __future__ import annotations

from steel_megatron.jobs.tables import markdown_table, plain_table


def test_the_first_column_is_to_the_left_and_the_others_to_the_right() -> None:
    assert plain_table([["a", "bb"], ["ccc", "d"]]) == "a    bb\nccc   d"


def test_all_to_the_left_leaves_no_spaces_behind() -> None:
    assert plain_table([["a", "bb", "c"], ["ccc", "d", ""]], right=False) == "a    bb  c\nccc  d"


def test_markdown() -> None:
    assert markdown_table([["a", "b"], ["c", "d"]]) == "| a | b |\n| --- | --- |\n| c | d |"
