"""Every option of every command, found from the parsers, so that a new one is tried by itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from steel_megatron.cli.main import COMMANDS, parser_of


@dataclass(frozen=True)
class CommandOption:
    """An option, and the words of the command line that lead to it: ``("mix", "add")``."""

    command: tuple[str, ...]
    parser: argparse.ArgumentParser
    action: argparse.Action

    @property
    def flag(self) -> str:
        """Its name; empty for what stands without one."""
        return self.action.option_strings[0] if self.action.option_strings else ""

    @property
    def takes_text(self) -> bool:
        """Whether its value is a text of any kind: one that may be a path."""
        return not self.action.choices and self.action.nargs != 0 and self.action.type in (None, str)

    def __str__(self) -> str:
        return f"{' '.join(self.command)} {self.flag or self.action.dest}"


def every_option() -> Iterator[CommandOption]:
    """The options of all commands, those of actions below a command (``steel mix add``) included."""
    for name in COMMANDS:
        yield from _options_of((name,), parser_of(name)[1])


def _options_of(command: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[CommandOption]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from _options_of((*command, name), below)
        elif not isinstance(action, argparse._HelpAction):
            yield CommandOption(command, parser, action)
