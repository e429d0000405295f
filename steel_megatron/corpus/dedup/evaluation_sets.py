"""Items of evaluation sets: rows of C-Eval, CMMLU and MMLU csv files, and records of JSON lines."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from steel_megatron._minhash import Overlap
from steel_megatron.config import DataError
from steel_megatron.corpus.dedup.plan import Plan
from steel_megatron.jobs.parts import InputFile
from steel_megatron.jobs.unpack import read_content

QUESTION_KEYS = ("question", "prompt", "instruction", "query", "title", "input")
CHOICE_KEYS = ("choices", "options")
LETTERS = "ABCDEFGHIJ"
COMMON_ITEMS = 64  # an n-gram of more items is the wording of a kind of question
FEWEST_GRAMS = 8  # an item with fewer is too short to be told from ordinary text


@dataclass(frozen=True)
class Item:
    """A text that must not be trained on. A question with choices is two: alone, and with them."""

    set_name: str
    where: str
    text: str


def read_items(files: Sequence[InputFile]) -> list[Item]:
    """The items of all sets, in order.

    Raises:
        DataError: a file has none of the layouts.
    """
    return [item for file in files for item in _items_of(file)]


def _items_of(file: InputFile) -> Iterator[Item]:
    content = b"".join(read_content(file.path))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{file.path} is not UTF-8: {error}", fix="convert it with iconv") from None
    rows = _csv_rows if ".csv" in file.name else _json_rows
    for line, question, choices in rows(file, text):
        where = f"{file.name}:{line}"
        yield Item(file.source, where, question)
        if choices:
            lettered = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
            yield Item(file.source, where, "\n".join([question, *lettered]))


def _csv_rows(file: InputFile, text: str) -> Iterator[tuple[int, str, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    head: list[str] | None = None
    for number, row in enumerate(reader):
        lower = [cell.strip().lower() for cell in row]
        if number == 0 and "question" in lower:
            head = lower
        elif head is not None:
            cells = dict(zip(head, row, strict=False))
            yield reader.line_num, cells.get("question", ""), [cells[x] for x in "abcd" if x in cells]
        elif len(row) == 6:  # MMLU: question, four choices, answer, no head
            yield reader.line_num, row[0], row[1:5]
        elif row:
            raise DataError(
                f"{file.path}, line {reader.line_num}: {len(row)} columns and no head that names a question",
                rule="csv files are as those of C-Eval and CMMLU (a head with question, A, B, C, D) or of MMLU (six "
                "columns: question, A, B, C, D, answer)",
                fix='give the set as JSON lines of {"text": …}',
            )


def _json_rows(file: InputFile, text: str) -> Iterator[tuple[int, str, list[str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
        except ValueError:
            record = None
        question = _question(record) if isinstance(record, dict) else None
        if question is None:
            raise DataError(
                f"{file.path}, line {number}: no text",
                rule=f"a line is an object with a string under text or {', '.join(QUESTION_KEYS)}",
                fix="rename the key",
            )
        yield number, question, _choices(record)


def _question(record: Mapping[str, Any]) -> str | None:
    for key in ("text", *QUESTION_KEYS):
        if isinstance(record.get(key), str):
            return str(record[key])
    return None


def _choices(record: Mapping[str, Any]) -> list[str]:
    for key in CHOICE_KEYS:
        given = record.get(key)
        if isinstance(given, dict):
            given = given.get("text", list(given.values()))
        if isinstance(given, list):
            return [str(choice) for choice in given]
    return [str(record[letter]) for letter in "ABCD" if letter in record]


@dataclass(frozen=True)
class Searched:
    """The items of a run, ready to be looked for."""

    items: list[Item]
    grams: list[int]  # of each item; 0 where it is too short
    overlap: Overlap


@lru_cache(maxsize=1)
def searched_items(plan: Plan) -> Searched:
    """Made once per process."""
    items = read_items(plan.sets)
    overlap = Overlap(plan.settings.overlap_units, plan.settings.overlap_share, COMMON_ITEMS, FEWEST_GRAMS)
    for item in items:
        overlap.add_item(item.text)
    return Searched(items, overlap.finish(), overlap)


def count_items(plan: Plan) -> dict[str, dict[str, int]]:
    """Per set: questions, and how many of them are too short to be looked for, with their choices too."""
    searched = searched_items(plan)
    longest: dict[tuple[str, str], int] = {}
    for item, grams in zip(searched.items, searched.grams, strict=True):
        key = (item.set_name, item.where)
        longest[key] = max(longest.get(key, 0), grams)
    questions = Counter(name for name, _ in longest)
    short = Counter(name for (name, _), grams in longest.items() if grams == 0)
    return {name: {"questions": questions[name], "too_short": short[name]} for name in sorted(questions)}
