"""``steel``: finds the command, parses its flags, and turns errors that a user can mend into three lines."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from steel_megatron import __version__
from steel_megatron.config import ConfigError, Parser, SteelError, check_instruction_set, nearest

# Command → what `steel --help` says of it. The module cli/<command>_command.py (dashes as underscores) holds
# add_arguments(parser) and run(args) -> exit status; it is imported only when its command is called.
COMMANDS = {
    "convert": "raw corpus records → {text, source, id} jsonl",
    "dedup": "leave out exact and near duplicates across sources, and texts of evaluation sets",
    "clean": "jsonl → jsonl: keep, drop and mend documents by a data-juicer recipe, with a report",
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
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            return one_of_several(argv)
        return dispatch(argv)
    except SteelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 141


def one_of_several(argv: list[str]) -> int:
    """Runs the command in a process of torchrun's, which leaves hard: what it says first reaches the user.

    Also when all went well. Gloo's threads have been seen to abort a process while the interpreter takes itself apart,
    which torchrun would report as a failed run.
    """
    from steel_megatron.parallel.failure import leave, leave_hard

    leave_hard()
    try:
        status = dispatch(argv)
    except BaseException as error:
        leave(error)
    sys.stdout.flush()
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
    return int(module.run(parser.parse_args(list(argv))) or 0)


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
