"""The corpora that ``steel convert`` knows: every module of ``corpora/`` that holds a ``CORPUS``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from steel_megatron.config import ConfigError, nearest
from steel_megatron.corpus import corpora
from steel_megatron.corpus.corpus import Corpus


@cache
def all_corpora() -> dict[str, Corpus]:
    """Name → corpus, sorted by name. A new file in ``corpora/`` is found without being named anywhere."""
    modules = sorted(module.name for module in pkgutil.iter_modules(corpora.__path__))
    found = [importlib.import_module(f"{corpora.__name__}.{name}").CORPUS for name in modules]
    return {corpus.name: corpus for corpus in sorted(found, key=lambda corpus: corpus.name)}


def find_corpus(name: str) -> Corpus:
    """The corpus of that name.

    Raises:
        ConfigError: there is none.
    """
    known = all_corpora()
    if name not in known:
        raise ConfigError(
            f"unknown corpus {name!r}", rule=f"corpora are {', '.join(known)}", fix=nearest(name, known) or ""
        )
    return known[name]
