"""Named things that can be added from outside: activations, schedules, optimizer rules, corpora, callbacks …

Wherever a name is asked for, one of these may be given:

    swiglu                          a name that the package ships
    mish                            a name that an installed package offers as an entry point of the registry's group
    my_package.layers:mish          an attribute of a module that Python finds
    experiments/layers.py:mish      an attribute of a Python file
    my_package.rates:Cycle {period: 1000}     any of these with parameters, where the registry takes some

A text is kept as it was given (in configurations, checkpoints and manifests), and resolved where it is used: every
process that reads it comes to the same thing. Nothing is imported before it is used.

To make a registry::

    RULES = Registry("optimizer", "steel_megatron.optimizers", shipped_in("optim/rules", "RULE"), wanted="a Rule")
    RULES.names()                # all that are known, shipped ones first
    "adamw" in RULES             # known, or of the form module:Name; loads nothing
    RULES.load("my.module:Lion") # what stands behind the name
    RULES.make("my.module:Lion {beta: 0.9}", "--optimizer", config)   # the same, called with this and its parameters

A knob takes one as its ``choices``. What an entry holds is said where the registry is made.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import yaml

from steel_megatron.config.errors import ConfigError, SteelError, nearest

PACKAGE = Path(__file__).parents[1]

Thing = TypeVar("Thing")
Places = Mapping[str, str]  # name → module:attribute


def shipped_in(folder: str, attribute: str) -> Callable[[], Places]:
    """One entry for every module of a folder of the package, under the module's name; found by listing the folder.

    Args:
        folder: relative to the package, as ``corpus/corpora``.
        attribute: what each of its modules calls its entry.
    """
    module = f"{PACKAGE.name}.{folder.replace('/', '.')}"
    return lambda: {
        path.stem: f"{module}.{path.stem}:{attribute}"
        for path in sorted((PACKAGE / folder).glob("*.py"))
        if not path.stem.startswith("_")
    }


class Registry(Generic[Thing]):
    """Things of one kind by their names.

    Args:
        what: the kind in words, for errors: "activation".
        group: of the entry points in which installed packages offer more; their names never hide shipped ones.
        shipped: name → where the entry lies, or a function that tells it (:func:`shipped_in`).
        wanted: what an entry must be, in words, for errors.
        fits: whether a loaded thing is one.
        parameters: whether ``name {parameter: value}`` is taken.
    """

    def __init__(
        self,
        what: str,
        group: str,
        shipped: Places | Callable[[], Places],
        *,
        wanted: str,
        fits: Callable[[Any], bool] = callable,
        parameters: bool = False,
    ) -> None:
        self.what = what
        self.group = group
        self.wanted = wanted
        self.takes_parameters = parameters
        self._fits = fits
        self._told = shipped

    @cached_property
    def shipped(self) -> Places:
        """What the package has of its own."""
        return self._told() if callable(self._told) else self._told

    @cached_property
    def installed(self) -> Places:
        """What installed packages offer: name → module:attribute; of two places of one name the alphabet's first."""
        found: dict[str, str] = {}
        from importlib import metadata  # slow to load

        for point in sorted(metadata.entry_points(group=self.group), key=lambda point: (point.name, point.value)):
            found.setdefault(point.name, point.value.replace(" ", ""))
        return {name: place for name, place in found.items() if name not in self.shipped}

    def names(self) -> tuple[str, ...]:
        """All that are known by name, shipped ones first."""
        return *self.shipped, *self.installed

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __contains__(self, given: object) -> bool:
        """Whether it is known, or says where it lies; that it is there is seen when it is loaded."""
        if not isinstance(given, str):
            return False
        name, _ = split(given)
        return name in self.shipped or _says_where(name) or name in self.installed

    def outside(self, given: str) -> bool:
        """Whether it is none that the package ships."""
        return split(given)[0] not in self.shipped

    def spelled(self, given: Any, where: str) -> str:
        """What was given, as one text: a mapping ``{name: {parameter: value}}`` is written as the flag takes it.

        Args:
            where: the knob, flag or file that it was given to, for errors.

        Raises:
            ConfigError: neither known nor of the form module:Name, or parameters where none are taken.
        """
        if isinstance(given, Mapping) and len(given) == 1:
            ((name, parameters),) = given.items()
            if isinstance(parameters, Mapping):
                flow = yaml.safe_dump(dict(parameters), default_flow_style=True, width=2**31, allow_unicode=True)
                given = f"{name} {flow.strip()}" if parameters else str(name)
            elif parameters is None:
                given = str(name)
        if given not in self:
            name = split(given)[0] if isinstance(given, str) else str(given)
            raise ConfigError(f"{where} is {given!r}", rule=self.rule(), fix=self.fix(name))
        text = str(given).strip()
        name, parameters = split(text)
        if parameters and not self.takes_parameters:
            raise ConfigError(f"{where} is {text!r}", rule=f"a {self.what} takes no parameters", fix=f"give {name}")
        return text

    def rule(self) -> str:
        """What may be given, for errors and ``--help``."""
        return f"{self.what}: one of {', '.join(self)}, or of your own: package.module:Name or path.py:Name"

    def fix(self, name: str) -> str:
        """The nearest known name, or how an installed package offers one."""
        return nearest(name, self) or f"an installed package offers names by its entry points in {self.group!r}"

    def load(self, given: str, where: str = "") -> Thing:
        """What stands behind a name, imported when it is first asked for; parameters beside it are left aside.

        Raises:
            ConfigError: there is none, its module fails, or it is no such thing.
        """
        name, where = split(given)[0], where or self.what
        module_name, attribute = self._place(name, where)
        thing: Any = _module(module_name, f"{where}: {name}")
        for part in attribute.split("."):
            if not hasattr(thing, part):
                public = [each for each in vars(thing) if not each.startswith("_")]
                raise ConfigError(
                    f"{where}: {name}: there is no {part!r} in {module_name}",
                    rule=f"it is {self.wanted}",
                    fix=nearest(part, public),
                )
            thing = getattr(thing, part)
        if not self._fits(thing):
            raise ConfigError(
                f"{where}: {name} is of type {type(thing).__name__}",
                rule=f"it is {self.wanted}",
                fix="give the name of one, in the form module:Name",
            )
        found: Thing = thing
        return found

    def make(self, given: str, where: str = "", *arguments: Any, **named: Any) -> Any:
        """What stands behind a name, called with the arguments and then with the parameters that are given with it.

        Raises:
            ConfigError: as :meth:`load`, or it does not take these parameters, lacks some, or fails.
        """
        thing: Any = self.load(given, where)
        call = self._bound(thing, given, where, inspect.signature(thing).bind, *arguments, **named)
        try:
            return call()
        except SteelError:
            raise
        except Exception as error:  # whatever another's code raises
            raise ConfigError(
                f"{where or self.what} {given!r} fails: {_told(error)}",
                rule=f"it is {self.wanted}",
                fix="mend that line, or give another",
            ) from error

    def partial(self, given: str, where: str = "", *arguments: Any, **named: Any) -> Callable[..., Any]:
        """As :meth:`make`, to be called later, also with more arguments behind these."""
        thing: Any = self.load(given, where)
        return self._bound(thing, given, where, inspect.signature(thing).bind_partial, *arguments, **named)

    def _bound(
        self, thing: Any, given: str, where: str, bind: Callable[..., Any], *arguments: Any, **named: Any
    ) -> Callable[..., Any]:
        """The thing with its arguments and parameters; ``bind`` of its signature says whether it takes them."""
        name, parameters = split(given)
        try:
            bind(*arguments, **named, **parameters)
        except TypeError as error:
            allowed = [each for each in inspect.signature(thing).parameters if each not in named][len(arguments) :]
            raise ConfigError(
                f"{where or self.what} {given!r}: {error}",
                rule=f"{name} takes {', '.join(allowed) or 'no parameters'}",
                fix=next(filter(None, (nearest(each, allowed) for each in parameters if each not in allowed)), ""),
            ) from None
        return functools.partial(thing, *arguments, **named, **parameters)

    def code(self, given: str) -> str:
        """A hash of the file of an entry from outside, so that other code is known; "" for a shipped one.

        Raises:
            ConfigError: as :meth:`load`.
        """
        if not self.outside(given):
            return ""
        name, _ = split(given)
        file = _module(self._place(name, self.what)[0], f"{self.what}: {name}").__file__
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""

    def _place(self, name: str, where: str) -> tuple[str, str]:
        """Module or file, and attribute."""
        place = self.shipped.get(name) or (name if _says_where(name) else self.installed.get(name))
        if place is None:
            raise ConfigError(f"{where}: unknown {self.what} {name!r}", rule=self.rule(), fix=self.fix(name))
        module, _, attribute = place.rpartition(":")
        return module, attribute


def split(given: str) -> tuple[str, dict[str, Any]]:
    """A name and the parameters behind it: ``name {parameter: value}``.

    Raises:
        ConfigError: what follows the name is no mapping.
    """
    name, space, rest = given.partition(" {")
    if not space:
        return given, {}
    try:
        parameters = yaml.safe_load("{" + rest)
    except yaml.YAMLError:
        parameters = None
    if not isinstance(parameters, dict) or not all(isinstance(each, str) for each in parameters):
        raise ConfigError(
            f"{given!r}",
            rule="parameters are a YAML mapping behind the name: 'name {parameter: value, other: value}'",
            fix="put a space behind each colon, and quotes around the whole in a shell",
        )
    return name.strip(), parameters


def _says_where(name: str) -> bool:
    module, colon, attribute = name.rpartition(":")
    return bool(colon and module and attribute.replace(".", "_").isidentifier())


def _told(error: Exception) -> str:
    """What another's code raised, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({last.filename}:{last.lineno})"


def _module(name: str, where: str) -> ModuleType:
    """The module of that name, or in the file of that path."""
    try:
        return _module_of_file(Path(name), where) if name.endswith(".py") else importlib.import_module(name)
    except ConfigError:
        raise
    except Exception as error:  # whatever another's module raises
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"{where}: Python finds no module {error.name!r}",
                rule="a module is installed, or its folder stands in PYTHONPATH; a file is given by its path",
                fix=f"PYTHONPATH=FOLDER, or {name.replace('.', '/')}.py:Name",
            ) from None
        raise ConfigError(
            f"{where}: its module fails: {_told(error)}",
            rule="it can be imported",
            fix="mend that line, or install what it asks for",
        ) from error


def _module_of_file(path: Path, where: str) -> ModuleType:
    """A file as a module of its own: the same one until the file changes."""
    if not path.is_file():
        raise ConfigError(f"{where}: no file {path}", fix=f"a relative path starts in {Path.cwd()}")
    whole = path.resolve()
    made_of = hashlib.sha256(f"{whole}\n".encode() + whole.read_bytes()).hexdigest()
    name = f"steel_given_{made_of[:12]}_{whole.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, whole)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
