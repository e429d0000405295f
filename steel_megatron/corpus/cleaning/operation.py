"""What an operation of a recipe is: a mapper changes a text, a filter measures it and keeps or drops the document.

An operation is a dataclass whose fields are its parameters, named as data-juicer names them.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from steel_megatron._text import Text
from steel_megatron.config import ConfigError, nearest
from steel_megatron.config.registry import Registry

NO_LIMIT = sys.maxsize
CODE = "code_of_operation"  # beside its parameters: the hash of the file of an operation from outside
FILES = "files_of_operation"  # beside its parameters: the hashes of the files that they name
# data-juicer's parameters of how an operation is run, which change no text here.
EXECUTION = frozenset(
    {"accelerator", "auto_op_parallelism", "batch_mode", "batch_size", "cpu_required", "gpu_required", "mem_required"}
    | {"memory", "np", "num_cpus", "num_gpus", "num_proc", "runtime_env", "runtime_np", "skip_op_error", "turbo"}
    | {"work_dir"}
)


@dataclass(kw_only=True)
class Operation:
    """One step of a recipe. ``name`` is that of the recipe; ``about`` says in a line what it does."""

    name: ClassVar[str] = ""
    about: ClassVar[str] = ""
    ours: ClassVar[frozenset[str]] = frozenset()  # parameters that data-juicer does not have

    def check(self) -> None:
        """Raises :class:`ConfigError` for parameters that cannot work, and loads what the operation needs."""

    @classmethod
    def depends_on(cls, parameters: Mapping[str, Any]) -> str:
        """What the results depend on beside the parameters: the content of files that these name."""
        return ""


@dataclass(kw_only=True)
class Mapper(Operation):
    """Changes a text."""

    def apply(self, text: Text) -> None:
        """Changes the text in place."""
        raise NotImplementedError


@dataclass(frozen=True)
class Judgement:
    """What a filter found. ``why`` says in words why the document is dropped; empty where it is kept.

    ``reason`` is the same without what is the document's own, to be counted under.
    """

    value: float
    why: str = ""
    reason: str = ""


@dataclass(kw_only=True)
class Filter(Operation):
    """Keeps a document whose number lies between two limits."""

    statistic: ClassVar[str] = ""  # data-juicer's name of the number
    scale: ClassVar[str] = "ratio"  # "ratio": 0 to 1; "count": 0 and more
    min_closed_interval: bool = True
    max_closed_interval: bool = True
    reversed_range: bool = False

    def measure(self, text: Text) -> float:
        """The number."""
        raise NotImplementedError

    def limits(self) -> tuple[float | None, float | None]:
        """The lower and the upper one; None where there is none."""
        raise NotImplementedError

    def judge(self, text: Text) -> Judgement:
        """Measures the text and compares."""
        value = self.measure(text)
        low, high = self.limits()
        # Turned round, a limit itself is outside where it would be inside.
        low_in = self.min_closed_interval is not self.reversed_range
        high_in = self.max_closed_interval is not self.reversed_range
        below = low is not None and (value < low or (value == low and not low_in))
        above = high is not None and (value > high or (value == high and not high_in))
        if (below or above) is self.reversed_range:
            return Judgement(value)
        where = f"below {low}" if below else f"above {high}"
        if self.reversed_range:
            where = f"between {low} and {high}"
        return Judgement(value, f"{self.statistic} {value:.6g} {where}", f"{self.statistic} {where}")


@dataclass(kw_only=True)
class RecordFilter(Filter):
    """Judges a record by its other fields, such as its address."""

    def judge_record(self, record: Mapping[str, Any]) -> Judgement:
        """Looks at the record; its text is as it was before the first operation."""
        raise NotImplementedError

    def measure(self, text: Text) -> float:
        """0: nothing of the text counts."""
        return 0.0


Some = TypeVar("Some", bound=type[Operation])
_SHIPPED: dict[str, str] = {}  # name → module:class


def _shipped() -> dict[str, str]:
    from steel_megatron.corpus.cleaning import (  # noqa: F401 (they enter operations)
        classify_filters,
        filters,
        lists,
        mappers,
        model_filters,
        personal_data,
        web_rules,
    )

    return dict(_SHIPPED)


OPERATIONS: Registry[type[Operation]] = Registry(
    "operation",
    "steel_megatron.operations",
    _shipped,
    wanted="a dataclass made from Mapper or Filter of steel_megatron.corpus.cleaning",
    fits=lambda thing: isinstance(thing, type) and issubclass(thing, (Mapper, Filter)),
)


def register(name: str) -> Callable[[Some], Some]:
    """Enters an operation under its name in recipes; one from outside is given by where it lies, and so called."""

    def enter(operation: Some) -> Some:
        operation.name = name
        operation.about = (operation.__doc__ or "").partition("\n")[0]
        if operation.__module__.startswith(f"{__package__}."):
            _SHIPPED[name] = f"{operation.__module__}:{operation.__qualname__}"
        return operation

    return enter


def build_operation(name: str, parameters: Mapping[str, Any]) -> Operation:
    """The operation of a line of a recipe.

    Raises:
        ConfigError: no such operation or parameter, or a value of another type.
    """
    if name not in OPERATIONS:
        near = nearest(name, OPERATIONS)
        raise ConfigError(
            f"operation {name!r} does not run natively",
            rule=f"native operations are {', '.join(sorted(OPERATIONS))}, or of your own: package.module:Class or "
            "path.py:Class",
            fix=f"{near + ' Otherwise' if near else 'leave it out, or'} use --engine data-juicer for this recipe",
        )
    kind = OPERATIONS.load(name, "--recipe")
    if not kind.name:
        kind.name = name
    fields = {field.name: field for field in dataclasses.fields(kind) if not field.name.startswith("_")}
    given = {}
    for key, value in parameters.items():
        if key in fields:
            _check_type(name, key, value, fields[key].default)
            given[key] = value
        elif key in (CODE, FILES) or (key == "text_key" and value in (None, "text")):
            continue
        elif key not in EXECUTION:
            raise ConfigError(
                f"parameter {key!r} of {name}",
                rule=f"its parameters are {', '.join(fields) or 'none'}",
                fix=nearest(key, fields),
            )
    operation = kind(**given)
    operation.check()
    return operation


def _check_type(name: str, key: str, value: Any, default: Any) -> None:
    """A number where the default is one, and so on; defaults of None take anything."""
    fits = (
        default is None
        or isinstance(value, type(default))
        or (isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool))
        or (isinstance(default, str) and isinstance(value, list) and all(isinstance(each, str) for each in value))
    )
    if isinstance(default, int) and not isinstance(default, bool) and isinstance(value, (bool, float)):
        fits = isinstance(value, float)  # limits of whole numbers may be written with a point
    if isinstance(value, float) and math.isnan(value):
        fits = False  # it would keep or drop everything; infinite limits mean none
    if not fits:
        raise ConfigError(
            f"{name}: {key}: {value!r}", rule=f"it is of type {type(default).__name__}, as its default {default!r}"
        )
