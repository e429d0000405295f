"""How far a tokenising run has come: written now and then, read by the same command after a run was stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from steel_megatron import __version__
from steel_megatron.jobs.durable import write_json
from steel_megatron.jobs.files import is_url, state_of
from steel_megatron.jobs.hashes import FileRecord
from steel_megatron.tokens.manifest import TokenizerRecord
from steel_megatron.tokens.tokenise.output import TokenizeJob

FORMAT = 1


@dataclass
class Position:
    """The place in the input behind the last block taken, with what cannot be told from the outputs."""

    file: int = 0
    blocks: int = 0  # of that file
    lines: int = 0  # of that file
    blank_lines: int = 0  # of all files
    records: dict[int, FileRecord] = field(default_factory=dict)  # of files done, as far as they are known


class Journal:
    """``{output_prefix}.tokenize.partial``.

    Args:
        signature: what must be the same for a run to go on where another was stopped.
    """

    def __init__(self, output_prefix: str | os.PathLike[str], signature: dict[str, Any]) -> None:
        self.path = Path(f"{os.fspath(output_prefix)}.tokenize.partial")
        self.signature: dict[str, Any] = json.loads(json.dumps(signature))

    def read(self) -> tuple[Position, dict[str, Any]] | None:
        """Position and states of the outputs; None where there is nothing to go on from."""
        try:
            content = json.loads(self.path.read_bytes())
            if content["signature"] != self.signature:
                return None
            position = Position(**content["position"])
            position.records = {int(i): FileRecord(**record) for i, record in content["position"]["records"].items()}
            return position, content["states"]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, position: Position, states: dict[str, Any]) -> None:
        """Keeps the position in one step."""
        content = {"signature": self.signature, "position": asdict(position), "states": states}
        write_json(self.path, content, indent=None)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _state(file: str) -> tuple[int, int | str]:
    state = state_of(file)
    return state.bytes, state.version if is_url(file) else int(state.version)


def run_signature(files: Sequence[str], job: TokenizeJob, block_bytes: int) -> dict[str, Any]:
    """Inputs, tokenizer and settings of a run."""
    return {
        "format": FORMAT,
        "code_version": __version__,
        "inputs": [[file, *_state(file)] for file in files],
        "tokenizer": asdict(TokenizerRecord.of(job.tokenizer)),
        "keys": job.keys,
        "eod_id": job.eod_id,
        "dtype": job.dtype,
        "shuffle_seed": job.shuffle_seed,
        "block_bytes": block_bytes,
    }
