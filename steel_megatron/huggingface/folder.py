"""A Hugging Face model folder on disk: reading its options and weights, writing its shards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steel_megatron.checkpoint.foreign import not_hugging_face
from steel_megatron.config import CheckpointError, ConfigError
from steel_megatron.jobs.durable import sync, write_json

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
DTYPE_NAMES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}


class StateFolder:
    """The safetensors of a folder, read lazily. ``dtype`` is the widest type of its tensors.

    Raises:
        CheckpointError: no safetensors there, a shard is missing or damaged, or the weights are quantised.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = _shards(folder)
        self._handles: dict[str, Any] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._file_of: dict[str, str] = {}
        found: set[str] = set()
        for file in files:
            try:
                handle = safe_open(folder / file, framework="pt")
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{folder / file} cannot be read: {error}", fix="copy the file again") from None
            self._handles[file] = handle
            for name in handle.keys():  # noqa: SIM118 - no mapping
                part = handle.get_slice(name)
                self.shapes[name] = tuple(part.get_shape())
                self._file_of[name] = file
                found.add(part.get_dtype())
        self.dtype = _widest(found, folder)

    def __getitem__(self, name: str) -> Tensor:
        """One tensor."""
        return self._handles[self._file_of[name]].get_tensor(name)


def read_config(folder: Path) -> dict[str, Any]:
    """The complete options of a folder's config.json, defaults filled in by transformers.

    Raises:
        CheckpointError: no such folder or file. ConfigError: transformers does not take it.
    """
    if not (folder / "config.json").is_file():
        raise not_hugging_face(folder)
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True).to_dict()
    except Exception as error:  # each configuration class raises its own kinds
        raise ConfigError(
            f"{folder / 'config.json'}: {error}", rule="it is a config.json that transformers reads"
        ) from error


def write_shards(
    folder: Path,
    tensors: Sequence[tuple[str, int]],
    build: Callable[[Sequence[str]], Mapping[str, Tensor]],
    max_shard_size: int,
) -> int:
    """Writes safetensors files, with an index if there is more than one; returns the bytes of all tensors.

    Args:
        folder: where they are written.
        tensors: (name, bytes) of each, in order.
        build: makes the tensors of one shard; only one shard's tensors are held at a time.
        max_shard_size: bytes of a file; a larger tensor gets a file of its own.
    """
    shards = plan_shards(tensors, max_shard_size)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(dict(build(names)), folder / file, metadata={"format": "pt"})
        (folder / file).chmod(folder.stat().st_mode & 0o666)  # safetensors writes for its user alone
        weight_map |= dict.fromkeys(names, file)
    total = sum(size for _, size in tensors)
    if len(shards) > 1:
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": weight_map})
    return total


def plan_shards(tensors: Sequence[tuple[str, int]], max_shard_size: int) -> list[list[str]]:
    """Names by shard: filled in order, a new one begun when the next tensor does not fit."""
    shards: list[list[str]] = []
    room = 0
    for name, size in tensors:
        if not shards or size > room:
            shards.append([])
            room = max_shard_size
        shards[-1].append(name)
        room -= size
    return shards


@contextmanager
def new_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to fill under a temporary name; it becomes ``target`` when the block ends without an error.

    Raises:
        ConfigError: ``target`` holds something, and ``overwrite`` is False or it is no model folder.
    """
    target = target.absolute()
    temporary = target.with_name(f".{target.name}.partial")
    old = target.with_name(f".{target.name}.replaced")
    with _named_as(target, temporary, old):
        if old.exists() and not target.exists():  # killed between two renames
            old.rename(target)
        check_target(target, overwrite)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for path in temporary.rglob("*"):
                sync(path)
            sync(temporary)
            if target.exists():
                target.rename(old)
            temporary.rename(target)
            sync(target.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            if old.exists() and not target.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _named_as(target: Path, *others: Path) -> Iterator[None]:
    """What the system refuses below a folder's other names is told of as below its own."""
    try:
        yield
    except OSError as error:
        for path in (error.filename2, error.filename):
            for other in others:
                if isinstance(path, str) and Path(path).is_relative_to(other):
                    own = target / Path(path).relative_to(other)
                    raise OSError(error.errno, error.strerror, str(own)) from error
        raise


def check_target(target: Path, overwrite: bool) -> None:
    """Refuses to write over what is not ours to replace; see :func:`new_folder`."""
    if target.is_dir() and not any(target.iterdir()):
        return
    if not target.exists():
        return
    if not overwrite:
        raise ConfigError(
            f"{target} holds something already", rule="nothing is written over", fix="--overwrite replaces it"
        )
    if not (target / "config.json").is_file():
        raise ConfigError(
            f"--overwrite of {target}, which has no config.json",
            rule="only a model folder is replaced",
            fix="remove it yourself, or choose another --output",
        )


def _shards(folder: Path) -> list[str]:
    if (folder / INDEX).is_file():
        try:
            files = sorted(set(json.loads((folder / INDEX).read_bytes())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise CheckpointError(f"{folder / INDEX} is damaged: {error!r}", fix="copy the file again") from None
        missing = [file for file in files if not (folder / file).is_file()]
        if missing:
            raise CheckpointError(f"{folder} lacks {', '.join(missing)}", rule=f"{INDEX} names it", fix="copy it again")
        return files
    if (folder / SINGLE).is_file():
        return [SINGLE]
    pickled = sorted(path.name for path in folder.glob("pytorch_model*.bin"))
    raise CheckpointError(
        f"{folder} holds no {SINGLE}" + (f" (only {', '.join(pickled[:3])})" if pickled else ""),
        rule="weights are read from safetensors files",
        fix="save the model again with transformers' save_pretrained" if pickled else "check the path given to --hf",
    )


def _widest(found: set[str], folder: Path) -> torch.dtype:
    if found == {"F16"}:
        return torch.float16
    if found == {"BF16"}:
        return torch.bfloat16
    if found <= {"F32", "F16", "BF16", "BOOL", "U8"} and found & {"F32", "F16", "BF16"}:  # masks of old GPT-2 files
        floats = found & {"F32", "F16", "BF16"}
        return _widest(floats, folder) if len(floats) == 1 and "F32" not in floats else torch.float32
    raise CheckpointError(
        f"{folder} holds weights of types {', '.join(sorted(found))}", rule="weights are F32, F16 or BF16"
    )
