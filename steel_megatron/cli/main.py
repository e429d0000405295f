"""``steel``: finds the command, parses its flags, and turns errors that a user can mend into three lines."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import ModuleType

from steel_megatron import __version__
from steel_megatron.config import ConfigError, Parser, SteelError, nearest
from steel_megatron.config.instruction_set import check_instruction_set
from steel_megatron.config.launcher import is_one_of_several, launch_from
from steel_megatron.config.os_errors import about_files, complete, explained
from steel_megatron.config.restarts import failed_for_good

INTERRUPTED = 130  # 128 + SIGINT, as shells count

# Command → what `steel --help` says of it. The module cli/<command>_command.py (dashes as underscores) holds
# add_arguments(parser) and run(args) -> exit status; it is imported only when its command is called.
COMMANDS = {
    "convert": "raw corpus records → {text, source, id} jsonl",
    "dedup": "leave out exact and near duplicates across sources, and texts of evaluation sets",
    "dedup-lines": "leave out lines that many documents of a source share: boilerplate of sites",
    "clean": "jsonl → jsonl: keep, drop and mend documents by a data-juicer recipe, with a report",
    "classify": "train classifiers of quality or language on examples, score records with them",
    "train-tokenizer": "train a byte-level BPE tokenizer on jsonl text",
    "tokenize": "jsonl text → tokenised .bin/.idx dataset (Megatron's format)",
    "import-dataset": "token ids of lit-gpt, parquet or numpy → .bin/.idx dataset",
    "merge": "join .bin/.idx datasets into one",
    "inspect": "what is in a .bin/.idx dataset, or in a sample or step of a run",
    "mix": "tokens and epochs of a mixture over a run; a further phase for a running one",
    "plan": "parameters, FLOPs and memory of a model; list of presets",
    "train": "pretrain a model (under torchrun for more than one process)",
    "verify": "prove that every layout computes the same run on this machine",
    "export": "checkpoint → Hugging Face folder",
    "import": "Hugging Face folder → checkpoint",
    "generate": "continue a prompt with a trained model",
    "doctor": "what this machine has and which backends will be used",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``steel`` with the given arguments (``sys.argv`` when None) and returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if failed_for_good(os.environ):
            return 2
        if argv[:1] == ["train"]:
            launch_from(os.environ)
        if is_one_of_several(os.environ):
            return one_of_several(argv)
        with flushed_output():
            return dispatch(argv)
    except BrokenPipeError:
        drop_output()
        return 141  # as a process that SIGPIPE ends
    except SteelError as error:
        return complain(error)
    except OSError as error:
        return complain(explained(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def complain(error: SteelError) -> int:
    """Prints the three lines and returns the exit status."""
    try:
        sys.stdout.flush()
    except OSError:
        drop_output()
    with suppress(OSError):
        print(f"error: {error}", file=sys.stderr, flush=True)
    return 2


@contextmanager
def flushed_output() -> Iterator[None]:
    """What was printed has left this process when the block ends, so that a full disk or a closed pipe is found here.

    Also when the block ends by SystemExit, as that of ``--help``.
    """
    left: SystemExit | None = None
    try:
        yield
    except SystemExit as exit_:
        left = exit_
    if sys.stdout is not None:  # None where the caller has closed it
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from error
    if left is not None:
        raise left


def drop_output() -> None:
    """Lets what is still to be printed go nowhere: the interpreter would complain of it at its end."""
    with suppress(OSError, ValueError, AttributeError):  # a stream of a test or notebook has no descriptor
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def one_of_several(argv: list[str]) -> int:
    """Runs the command in a process of torchrun's, which leaves hard: what it says first reaches the user.

    Also when all went well. Gloo's threads have been seen to abort a process while the interpreter takes itself apart,
    which torchrun would report as a failed run.
    """
    from steel_megatron.parallel.processes.failure import leave, leave_hard

    leave_hard()
    try:
        with flushed_output():
            status = dispatch(argv)
    except BaseException as error:
        leave(error)
    sys.stderr.flush()
    os._exit(status)


def dispatch(argv: list[str]) -> int:
    """Help, version, or a command."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0
    if argv[0] in ("-V", "--version"):
        print(f"steel_megatron {__version__}")
        return 0
    name = argv[0]
    if name not in COMMANDS:
        raise ConfigError(
            f"steel: unknown command {name!r}",
            rule=f"commands are {', '.join(COMMANDS)}",
            fix=nearest(name, COMMANDS) or "see 'steel --help'",
        )
    check_instruction_set(os.environ)
    return run_command(name, argv[1:])


def run_command(name: str, argv: Sequence[str]) -> int:
    """Imports the command's module and runs it."""
    module, parser = parser_of(name)
    args = parser.parse_args(list(argv))
    try:
        return int(module.run(args) or 0)
    except SteelError as error:
        complete(error)
        raise
    except OSError as error:
        if isinstance(error, BrokenPipeError) or not about_files(error):
            raise
        raise explained(error, [*paths_of(parser, args), ("standard output", "")]) from error


def paths_of(parser: argparse.ArgumentParser, args: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Flags and values that were given as texts, which may be paths; ``NAME=PATH`` counts as its path."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below = action.choices.get(getattr(args, action.dest, None) or "")
            if below is not None:
                yield from paths_of(below, args)
            continue
        given = getattr(args, action.dest, None)
        if given is None or given == action.default or action.choices or isinstance(given, bool):
            continue
        flag = action.option_strings[0] if action.option_strings else (action.metavar or action.dest)
        for value in given if isinstance(given, list) else [given]:
            if isinstance(value, str):
                yield str(flag), value.partition("=")[2] or value


def parser_of(name: str) -> tuple[ModuleType, Parser]:
    """A command's module and the parser of its flags."""
    module = importlib.import_module(f"steel_megatron.cli.{name.replace('-', '_')}_command")
    parser = Parser(prog=f"steel {name}", description=module.__doc__)
    module.add_arguments(parser)
    return module, parser


def usage() -> str:
    """The text of ``steel --help``."""
    width = max(map(len, COMMANDS))
    lines = ["usage: steel COMMAND [flags]   (steel COMMAND --help tells a command's flags)", ""]
    lines += [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(lines)
