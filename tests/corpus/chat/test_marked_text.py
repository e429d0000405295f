"""Marks in a text are told by what they are, not by how they look."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.corpus.chat.marked_text import Mark, Text

PIECES = st.lists(st.text("<|a>中😀") | st.text("<|a>😀").map(Mark), max_size=8)


@given(PIECES)
def test_spans_are_those_of_the_marks(pieces: list[str]) -> None:
    made = Text.of(pieces)
    assert made.text == "".join(pieces)
    marks = [piece for piece in pieces if isinstance(piece, Mark) and piece]
    assert [made.text[start:stop] for start, stop in made.control] == marks
    edges = [edge for span in made.control for edge in span]
    assert edges == sorted(edges)


def test_what_looks_like_a_mark_is_text() -> None:
    assert Text.of(["<|end|>", Mark("<|end|>")]).control == [(7, 14)]
