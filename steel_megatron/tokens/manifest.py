"""What a dataset was made of: ``{prefix}.manifest.json`` beside ``{prefix}.bin`` and ``{prefix}.idx``.

It is written last and in one step: a dataset whose manifest is there is whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from steel_megatron import __version__
from steel_megatron.config import DataError
from steel_megatron.jobs.durable import beside, sync, write_json
from steel_megatron.jobs.hashes import FileRecord, hash_file
from steel_megatron.jobs.never_data import MANIFEST
from steel_megatron.tokenizer import Tokenizer

VERSION = 1


@dataclass(frozen=True)
class TokenizerRecord:
    """The tokenizer that made the ids."""

    type: str
    fingerprint: str
    vocab_size: int
    eod_id: int | None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> TokenizerRecord:
        return cls(tokenizer.type, tokenizer.fingerprint, tokenizer.vocab_size, tokenizer.eod_id)


@dataclass(frozen=True)
class Manifest:
    """The record of one tokenised dataset.

    ``rejects`` counts lines by reason, ``text_bytes`` the UTF-8 bytes of the texts taken, ``largest_id`` is -1 when
    there is no token. ``outputs`` holds ``bin`` and ``idx`` by name without folder: a dataset may be moved.
    """

    key: str
    append_eod: bool
    tokenizer: TokenizerRecord
    dtype: str
    inputs: tuple[FileRecord, ...]
    documents: int
    tokens: int
    largest_id: int
    text_bytes: int
    blank_lines: int
    rejects: Mapping[str, int]
    outputs: Mapping[str, FileRecord]
    encoder: Mapping[str, Any] = field(default_factory=dict)  # name, version, why it was taken, passed_over and why
    shuffle_seed: int | None = None  # of the documents' order; None: as in the input
    suspects: Mapping[str, str] = field(default_factory=dict)  # input files that are not what their names say
    damaged: Mapping[str, str] = field(default_factory=dict)  # input files that were read in part, and why
    code_version: str = __version__
    version: int = field(default=VERSION)

    @property
    def tokenizer_fingerprint(self) -> str:
        return self.tokenizer.fingerprint

    @property
    def eod_id(self) -> int | None:
        return self.tokenizer.eod_id

    @property
    def vocabulary_needed(self) -> int:
        """The least vocabulary that holds every token of the data."""
        return self.largest_id + 1

    @classmethod
    def find(cls, prefix: str | os.PathLike[str]) -> Manifest | None:
        """The manifest of a dataset, or None when it has none.

        Raises:
            DataError: there is one, but it cannot be read.
        """
        path = manifest_path(prefix)
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_bytes())
            if content["version"] != VERSION:
                raise DataError(
                    f"{path} has version {content['version']}",
                    rule=f"this code reads version {VERSION}",
                    fix="use the code that made the dataset, or tokenise it again",
                )
            content["tokenizer"] = TokenizerRecord(**content["tokenizer"])
            content["inputs"] = tuple(FileRecord(**record) for record in content["inputs"])
            content["outputs"] = {name: FileRecord(**record) for name, record in content["outputs"].items()}
            return cls(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is damaged: {type(error).__name__}: {error}",
                rule="it is what 'steel tokenize' wrote",
                fix="tokenise the data again with --overwrite, or remove the manifest to use the data unchecked",
            ) from None

    def write(self, prefix: str | os.PathLike[str]) -> None:
        """Writes ``{prefix}.manifest.json`` in one step."""
        path = manifest_path(prefix)
        write_json(path, asdict(self))
        sync(path.parent)


def output_records(prefix: str, bin_sha256: str, ending: str = "") -> dict[str, FileRecord]:
    """The two files of a dataset as its manifest holds them.

    Args:
        ending: of their names as they are now, behind ``.bin`` and ``.idx``.
    """
    records = {"bin": FileRecord("", os.path.getsize(f"{prefix}.bin{ending}"), bin_sha256)}
    records["idx"] = hash_file(f"{prefix}.idx{ending}")
    return {kind: replace(record, path=f"{os.path.basename(prefix)}.{kind}") for kind, record in records.items()}


def manifest_path(prefix: str | os.PathLike[str]) -> Path:
    """``{prefix}.manifest.json``."""
    return beside(prefix, MANIFEST)
