"""``steel clean --calibrate``: what the filters of a recipe measure on sampled records, and limits that keep most.

Limits that hold for one kind of text drop the good texts of another, so they are looked at on the corpus itself: the
mappers of the recipe change the sampled texts, each filter measures them and drops none, and the limits proposed are
quantiles of what was measured.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from tqdm import tqdm

from steel_megatron.config import DataError
from steel_megatron.corpus.cleaning.document import Document
from steel_megatron.corpus.cleaning.operation import CODE, FILES, NO_LIMIT, Filter, Mapper, RecordFilter
from steel_megatron.corpus.cleaning.recipe import Recipe
from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.json_lines import read_json_lines
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs
from steel_megatron.jobs.parts import InputFile, Part, line_parts, whole_file

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
ALL = "all sources"
PLACES = 64  # of the inputs at which records are read, evenly spread
_DIGITS = 3  # of a proposed limit


@dataclass(frozen=True)
class Measured:
    """What one filter of a recipe measured, a number per sampled record.

    Args:
        step: its place in the recipe.
        names: of the parameters that hold the lower and the upper limit.
        limits: the recipe's; None where there is none.
        proposed: limits that keep the share asked for; None where the recipe has none.
        dropped, dropped_then: whether each record falls by the recipe's limits, and by those proposed.
    """

    step: int
    name: str
    statistic: str
    values: np.ndarray
    names: tuple[str, str]
    limits: tuple[float | None, float | None]
    proposed: tuple[float | None, float | None]
    dropped: np.ndarray
    dropped_then: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """The filters of a recipe on a sample.

    Args:
        sources: of each sampled record.
        unread: records that gave no text.
    """

    recipe: Recipe
    sources: Sequence[str]
    measured: Sequence[Measured]
    unread: int

    def kept(self, proposed: bool = False) -> dict[str, tuple[int, int]]:
        """Per source, and for :data:`ALL`, how many records all filters keep, and of how many."""
        dropped = np.zeros(len(self.sources), bool)
        for each in self.measured:
            dropped |= each.dropped_then if proposed else each.dropped
        names = np.array(self.sources)
        found = {
            name: (int((~dropped[names == name]).sum()), int((names == name).sum())) for name in sorted(set(names))
        }
        return {**found, ALL: (int((~dropped).sum()), len(names))}

    def yaml(self) -> str:
        """The recipe with the proposed limits."""
        steps = [
            (name, {key: value for key, value in parameters.items() if key not in (CODE, FILES)})
            for name, parameters in self.recipe.steps
        ]
        for each in self.measured:
            for name, value in zip(each.names, each.proposed, strict=True):
                if value is not None:
                    steps[each.step][1][name] = value
        told: dict[str, Any] = {} if self.recipe.text_key == "text" else {"text_keys": self.recipe.text_key}
        process = [{name: parameters or None} for name, parameters in steps]
        return yaml.safe_dump({**told, "process": process}, allow_unicode=True, sort_keys=False)


def calibrate(
    recipe: Recipe, inputs: Iterable[str], *, records: int = 10_000, keep: float = 0.99, seed: int = 1234
) -> Calibration:
    """Measures a sample of the records and proposes limits.

    Args:
        records: at most as many are drawn, from :data:`PLACES` places spread evenly over the inputs.
        keep: the share of the sampled records that each proposed limit keeps.

    Raises:
        ConfigError: the recipe cannot be built.
        DataError: no input, or no record that gives a text.
    """
    operations = recipe.build()
    found = find_inputs(inputs, JSON_LINES)
    found.tell()
    filters = [(step, operation) for step, operation in enumerate(operations) if isinstance(operation, Filter)]
    values: list[list[float]] = [[] for _ in filters]
    sources: list[str] = []
    unread = 0
    sample = _sample([InputFile.of(file) for file in found.files], records, seed)
    for value in tqdm(sample, "calibrate", records, unit=" records", disable=None):
        try:
            document = Document(dict(value or {}), recipe.text_key)
        except RejectedRecordError:
            unread += 1
            continue
        sources.append(str(document.record.get("source", "")))
        at = 0
        for operation in operations:
            if isinstance(operation, Mapper):
                document.apply(operation)
            elif isinstance(operation, RecordFilter):
                values[at].append(operation.judge_record(document.record).value)
                at += 1
            elif isinstance(operation, Filter):
                values[at].append(operation.judge(document.plain()).value)
                at += 1
    if not sources:
        raise DataError(f"no record of {unread:,} gives a text", rule="at least one does", fix="check --input")
    measured = [
        _measured(step, operation, np.array(given), keep)
        for (step, operation), given in zip(filters, values, strict=True)
    ]
    return Calibration(recipe, sources, measured, unread)


def _measured(step: int, operation: Filter, values: np.ndarray, keep: float) -> Measured:
    low, high = (None if limit is None or abs(limit) >= NO_LIMIT else limit for limit in operation.limits())
    proposed = (
        None if low is None else _rounded(float(np.quantile(values, 1 - keep, method="lower")), math.floor),
        None if high is None else _rounded(float(np.quantile(values, keep, method="higher")), math.ceil),
    )
    judged = [_outside(values, limits) for limits in ((low, high), proposed)]
    names = (_limit_name(operation, "min_"), _limit_name(operation, "max_"))
    return Measured(step, operation.name, operation.statistic, values, names, (low, high), proposed, *judged)


def _outside(values: np.ndarray, limits: tuple[float | None, float | None]) -> np.ndarray:
    low, high = limits
    return (values < (-np.inf if low is None else low)) | (values > (np.inf if high is None else high))


def _rounded(value: float, towards: Any) -> float:
    """The value with few digits, rounded to the side that keeps."""
    if value == 0 or not math.isfinite(value):
        return value
    scale = 10.0 ** (math.floor(math.log10(abs(value))) - _DIGITS + 1)
    rounded = float(f"{towards(value / scale + (1e-9 if towards is math.floor else -1e-9)) * scale:.{_DIGITS + 3}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) > 1 else rounded


def _limit_name(operation: Filter, prefix: str) -> str:
    """The parameter of a filter that holds a limit; empty where it has none."""
    names = (field.name for field in dataclasses.fields(operation))
    return next((name for name in names if name.startswith(prefix) and not name.endswith("_closed_interval")), "")


def _sample(files: Sequence[InputFile], records: int, seed: int) -> Iterator[Mapping[str, Any] | None]:
    """Records from places spread evenly over the files; None for one that is no JSON object."""
    whole = sum(file.bytes for file in files)
    parts = [part for file in files for part in line_parts(whole_file(file), max(whole // PLACES, 1))]
    chosen = parts if len(parts) <= PLACES else random.Random(seed).sample(parts, PLACES)
    for number, part in enumerate(sorted(chosen, key=parts.index)):
        wanted = records * (number + 1) // len(chosen) - records * number // len(chosen)
        yield from _first(part, wanted)


def _first(part: Part, count: int) -> Iterator[Mapping[str, Any] | None]:
    for row, _ in zip(read_json_lines(part.content()), range(count), strict=False):
        yield row.value
