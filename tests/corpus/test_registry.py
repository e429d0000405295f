"""Corpora by their names: those of the package, and those of a user's file."""

from __future__ import annotations

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.corpus.corpus import Corpus
from steel_megatron.corpus.registry import CORPORA, all_corpora, find_corpus


def test_all_shipped_corpora_load_and_have_the_names_they_are_found_by():
    corpora = all_corpora()
    assert list(corpora) == sorted(CORPORA.shipped)
    assert all(isinstance(corpus, Corpus) and corpus.name == name for name, corpus in corpora.items())
    assert len(corpora) > 5


def test_a_file_of_ones_own_is_found_by_its_place(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from steel_megatron.corpus.corpus import Corpus, text_field\n"
        'MINE = Corpus("mine", "a test", {"t": "text"}, text_field("t"))\nOTHER = 3\n'
    )
    assert find_corpus(f"{path}:MINE").text({"t": "words"}, {}) == "words"
    with pytest.raises(ConfigError, match=r"a Corpus of steel_megatron\.corpus"):
        find_corpus(f"{path}:OTHER")


def test_a_misspelt_name_is_told_the_near_one():
    name = next(iter(all_corpora()))
    with pytest.raises(ConfigError, match=name):
        find_corpus(name + "x")
