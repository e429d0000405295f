"""Filters by lists that are given as files: of words, and of sites. A line each; behind a # is a remark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from steel_megatron._text import Text
from steel_megatron.config import ConfigError, read_text
from steel_megatron.corpus.cleaning.operation import NO_LIMIT, Filter, Judgement, RecordFilter, register
from steel_megatron.jobs.needed import needed


def read_list(operation: str, paths: str | list[str]) -> list[str]:
    """The entries of files, without blank lines and remarks.

    Raises:
        ConfigError: no file is named, one cannot be read, or none has an entry.
    """
    names = [paths] if isinstance(paths, str) else list(paths)
    if not any(names):
        raise ConfigError(f"{operation}: no paths", rule="paths names a text file, or several, with an entry in a line")
    entries = []
    for name in names:
        try:
            lines = read_text(Path(name), f"{operation}: paths").splitlines()
        except OSError as error:
            raise ConfigError(f"{operation}: paths: {name}: {error.strerror or error}") from None
        entries += [entry for line in lines if (entry := line.partition("#")[0].strip())]
    if not entries:
        raise ConfigError(f"{operation}: {', '.join(names)} has no entry", rule="an entry is a line")
    return entries


@register("word_list_filter")
@dataclass(kw_only=True)
class WordList(Filter):
    """Number of different words of the lists ``paths`` in the text; ``count: all``: of all, per 1,000 characters."""

    statistic: ClassVar[str] = "listed_words"
    scale: ClassVar[str] = "count"
    paths: str | list[str] = ""
    count: str = "distinct"
    max_num: float = 2.0
    _automaton: Any = field(default=None, init=False, repr=False)

    def check(self) -> None:
        if self.count not in ("distinct", "all"):
            raise ConfigError(f"{self.name}: count: {self.count!r}", rule="it is distinct or all")
        self._automaton = needed("ahocorasick", self.name).Automaton()
        for word in read_list(self.name, self.paths):
            self._automaton.add_word(word.lower(), word.lower())
        self._automaton.make_automaton()

    def measure(self, text: Text) -> float:
        given = str(text).lower()
        words = [word for end, word in self._automaton.iter(given) if _apart(given, end, word)]
        if self.count == "distinct":
            return len(set(words))
        return 1000 * len(words) / max(len(given), 1)

    def limits(self) -> tuple[float | None, float | None]:
        return None, self.max_num


def _apart(text: str, end: int, word: str) -> bool:
    """Whether a word of letters is no part of a longer one; scripts without spaces have no such borders."""
    start = end - len(word) + 1
    before, behind = text[start - 1 : start], text[end + 1 : end + 2]
    return not (
        (word[0].isascii() and word[0].isalnum() and before.isascii() and before.isalnum())
        or (word[-1].isascii() and word[-1].isalnum() and behind.isascii() and behind.isalnum())
    )


@register("site_list_filter")
@dataclass(kw_only=True)
class SiteList(RecordFilter):
    """Drops records whose address, in the field ``url_key``, is of a site or below an address in the lists."""

    statistic: ClassVar[str] = "listed_site"
    paths: str | list[str] = ""
    url_key: str = "url"
    _sites: frozenset[str] = field(default=frozenset(), init=False, repr=False)
    _addresses: tuple[str, ...] = field(default=(), init=False, repr=False)

    def check(self) -> None:
        entries = [_bare(entry) for entry in read_list(self.name, self.paths)]
        self._sites = frozenset(entry.rstrip("/") for entry in entries if "/" not in entry.rstrip("/"))
        self._addresses = tuple(sorted(entry for entry in entries if "/" in entry.rstrip("/")))

    def judge_record(self, record: Mapping[str, Any]) -> Judgement:
        given = record.get(self.url_key)
        address = _bare(given) if isinstance(given, str) else ""
        host = address.partition("/")[0]
        parts = host.split(".")
        listed = any(".".join(parts[at:]) in self._sites for at in range(len(parts)))
        if listed or (self._addresses and address.startswith(self._addresses)):
            return Judgement(1.0, f"{host} is listed", "its site is listed")
        return Judgement(0.0)

    def limits(self) -> tuple[float | None, float | None]:
        return None, NO_LIMIT


def _bare(address: str) -> str:
    """An address without its scheme, user, port and www., the host in small letters."""
    try:
        split = urlsplit(address if "://" in address else f"//{address}")
        host = split.hostname or ""
    except ValueError:
        return ""
    return host.removeprefix("www.") + split.path + (f"?{split.query}" if split.query else "")
