"""The corpora that ``steel convert`` knows: those of ``corpora/`` and of the tables, and from outside.

A new file in ``corpora/`` that holds a ``CORPUS`` is found without being named anywhere.
"""

from __future__ import annotations

from steel_megatron.config.registry import Registry, shipped_in
from steel_megatron.corpus import files_table, published_table
from steel_megatron.corpus.corpus import Corpus


def _shipped() -> dict[str, str]:
    rows = {name: f"{published_table.__name__}:PUBLISHED.{name}" for name in vars(published_table.PUBLISHED)}
    rows |= {name: f"{files_table.__name__}:FILES.{name}" for name in vars(files_table.FILES)}
    return {**rows, **shipped_in("corpus/corpora", "CORPUS")()}


CORPORA: Registry[Corpus] = Registry(
    "corpus",
    "steel_megatron.corpora",
    _shipped,
    wanted="a Corpus of steel_megatron.corpus",
    fits=lambda thing: isinstance(thing, Corpus),
)


def all_corpora() -> dict[str, Corpus]:
    """Name → corpus of those that are shipped, sorted by name."""
    return {name: CORPORA.load(name) for name in sorted(CORPORA.shipped)}


def find_corpus(name: str) -> Corpus:
    """The corpus of that name, or that lies where the name says (``module:CORPUS``, ``file.py:CORPUS``).

    Raises:
        ConfigError: there is none.
    """
    return CORPORA.load(name, "--corpus")
