"""An output as a folder of shards: files of bounded size, named in order, each whole, which nobody had to join.

A shard is what a part of the input gave, as an independent ``.jsonl.zst``; what small parts gave is put together until
it is worth a file. Which is which depends on the parts alone. The manifest beside the folder names all shards.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steel_megatron.config.errors import ConfigError, DataError
from steel_megatron.jobs.durable import PARTIAL, beside, give_name, join, partial_of, sync, whole
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.hashes import FileRecord, hash_file
from steel_megatron.jobs.never_data import MANIFEST

NAME = "{:06d}.jsonl.zst"
LEAST_BYTES = 4 << 20  # of a shard, packed; the last one of a folder may be smaller
BYTES_PER_WORKER = 64 << 20  # below, starting another process costs more than it gives
_NAMED = re.compile(r"\d{6,}\.jsonl\.zst")


@dataclass(frozen=True)
class Target:
    """Where an output goes: a file, packed as its name ends, or a folder of shards."""

    path: Path
    packing: str
    in_shards: bool = False

    @classmethod
    def of(cls, output: str | os.PathLike[str], packings: Mapping[str, str]) -> Target:
        """
        Args:
            packings: ending of a file's name → how it is packed.

        Raises:
            ConfigError: the name ends otherwise, and is that of no folder.
            DataError: it is a folder of other things.
        """
        given = os.fspath(output)
        if not given:
            raise ConfigError("--output ''", rule="it names a file or a folder of shards", fix="give it a name")
        path = Path(given)
        for suffix, packing in packings.items():
            if path.name.endswith(suffix) and not path.is_dir():
                return cls(path, packing)
        if not given.endswith("/") and path.suffix and not path.is_dir():
            raise ConfigError(
                f"--output {given}",
                rule=f"it ends in {', '.join(packings)}, or is a folder of shards: a name without an ending, or with /",
            )
        if path.is_dir() and (others := [name for name in os.listdir(path) if not _NAMED.fullmatch(name)]):
            raise DataError(
                f"{given} is a folder with other things in it, as {others[0]}",
                rule="shards go to a folder of their own",
                fix="use another --output",
            )
        return cls(path, "zst", in_shards=True)

    @property
    def work(self) -> Path:
        """The folder of the run's parts."""
        return beside(self.path, ".parts" + (PARTIAL if self.in_shards else ""))


@dataclass(frozen=True)
class Piece:
    """What a part gave. ``sha256`` of a piece that becomes a shard by itself is not computed again."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class _ShardJob:
    folder: str  # of the shards, until they are all there


@dataclass(frozen=True)
class _Shard:
    number: int
    pieces: tuple[Piece, ...]
    size: int


def write_shards(engine: Engine, pieces: Sequence[Piece], folder: Path) -> tuple[FileRecord, ...]:
    """Makes the shards of a folder under the name that it has until it is whole.

    A shard of one piece is a second name of it: nothing is copied, and a run that is killed still has its parts.
    """
    staged = partial_of(folder)
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    shards = list(_grouped(pieces))
    at_once = 1 + sum(shard.size for shard in shards) // BYTES_PER_WORKER
    records = engine.run("shards", _write_shard, _ShardJob(str(staged)), shards, lambda shard: None, at_once)
    sync(staged)
    return tuple(FileRecord(**record) for record in records)


def record_of(name: str, shards: Sequence[FileRecord]) -> FileRecord:
    """A folder of shards as one: its bytes, and the SHA-256 of the SHA-256s of all."""
    digest = hashlib.sha256(b"".join(bytes.fromhex(shard.sha256) for shard in shards))
    return FileRecord(name, sum(shard.bytes for shard in shards), digest.hexdigest())


def size_of(output: Path) -> int | None:
    """Bytes of an output; None where there is none."""
    if output.is_dir():
        return sum(entry.stat().st_size for entry in os.scandir(output))
    return output.stat().st_size if output.exists() else None


def check_shards(folder: Path) -> None:
    """Compares a folder with the manifest beside it, if there is one that names shards.

    Raises:
        DataError: a shard is not there with its size, or there are others.
    """
    try:
        shards: dict[str, int] = {
            shard["path"]: shard["bytes"] for shard in json.loads(beside(folder, MANIFEST).read_bytes())["shards"]
        }
    except (OSError, ValueError, KeyError, TypeError):
        return
    there = {entry.name: entry.stat().st_size for entry in os.scandir(folder) if _NAMED.fullmatch(entry.name)}
    wrong = sorted(name for name in shards.keys() | there.keys() if shards and shards.get(name) != there.get(name))
    if wrong:
        said, found = shards.get(wrong[0]), there.get(wrong[0])
        raise DataError(
            f"{folder / wrong[0]} {'is not there' if found is None else f'has {found:,} bytes'}, its manifest "
            f"{'does not name it' if said is None else f'says {said:,} bytes'}",
            rule="a folder of shards holds those that its manifest names, as they were",
            fix="copy the folder again with its manifest, or make it again with --overwrite",
        )


def _grouped(pieces: Sequence[Piece]) -> Iterator[_Shard]:
    number, group, size = 0, list[Piece](), 0
    for piece in pieces:
        group.append(piece)
        size += piece.path.stat().st_size
        if size >= LEAST_BYTES or piece is pieces[-1]:
            yield _Shard(number, tuple(group), size)
            number, group, size = number + 1, [], 0


def _write_shard(job: _ShardJob, shard: _Shard) -> dict[str, Any]:
    path = Path(job.folder, NAME.format(shard.number))
    if len(shard.pieces) > 1:
        with whole(path) as file:
            made = join((piece.path for piece in shard.pieces), file, path.name)
    else:
        [piece] = shard.pieces
        give_name(piece.path, path)
        made = FileRecord(path.name, shard.size, piece.sha256 or hash_file(path).sha256)
    return made.__dict__
