"""Errors in three parts, and the word that was meant."""

from __future__ import annotations

import pytest

from steel_megatron.config.errors import CheckpointError, SteelError, StorageError, nearest


def test_an_error_prints_the_parts_that_it_has() -> None:
    assert str(SteelError("--lr -1", "it is 0 or more", "give 1e-3")) == (
        "--lr -1\n  rule: it is 0 or more\n  fix:  give 1e-3"
    )
    assert str(SteelError("--lr -1", fix="give 1e-3")) == "--lr -1\n  fix:  give 1e-3"
    assert str(SteelError("--lr -1")) == "--lr -1"


def test_the_parts_stay_apart() -> None:
    error = StorageError("disk full", rule="there is room", fix="make room")
    assert (error.given, error.rule, error.fix) == ("disk full", "there is room", "make room")
    assert isinstance(error, CheckpointError)


@pytest.mark.parametrize(
    ("word", "found"),
    [("cosin", "did you mean cosine?"), ("cosine", "did you mean cosine?"), ("xyz", ""), ("", "")],
)
def test_the_nearest_word_is_near(word: str, found: str) -> None:
    assert nearest(word, ("linear", "cosine", "constant")) == found
    assert nearest(word, ()) == ""
