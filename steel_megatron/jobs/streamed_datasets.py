"""Hugging Face data sets by their names, streamed: ``datasets://NAME:CONFIG@SPLIT`` as a folder of JSON lines.

Each shard of the data set is a file of the folder, so that shards are read by different workers, and a run that was
stopped goes on with those that are missing. A folder of files that ``datasets`` can load has a name too: its path.

    datasets://openbmb/Ultra-FineWeb@zh
    datasets://HuggingFaceFW/fineweb-2:cmn_Hani        the split is train where none is given
    datasets:///data/my_set@train
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
from fsspec import AbstractFileSystem

from steel_megatron.config import ConfigError
from steel_megatron.jobs.files import ContentStream
from steel_megatron.jobs.needed import needed

PROTOCOL = "datasets"
_NAME = re.compile(r"(?P<name>[^:@]+)(?::(?P<config>[^@]*))?(?:@(?P<split>.*))?")
_SHARD = re.compile(r"(?P<set>.+)/shard-(?P<index>\d+)-of-(?P<count>\d+)\.jsonl")
_BLOCK_BYTES = 1 << 17  # the first block of a shard is kept: a look at its head asks the server once
_KEPT = 512


class StreamedDatasets(AbstractFileSystem):
    """The file system of these URLs, for reading."""

    protocol = PROTOCOL

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._first_blocks: dict[str, bytes] = {}

    def isfile(self, path: str) -> bool:
        return _SHARD.fullmatch(self._strip_protocol(path)) is not None

    def exists(self, path: str, **kwargs: Any) -> bool:
        path = self._strip_protocol(path)
        return self.isfile(path) or bool(_loaded(path))

    def find(self, path: str, *args: Any, **kwargs: Any) -> list[str]:
        path = self._strip_protocol(path)
        _, rows = _loaded(path)
        return [f"{path}/shard-{index:05}-of-{rows.num_shards:05}.jsonl" for index in range(rows.num_shards)]

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        shard = _SHARD.fullmatch(path)
        if not shard:
            return {"name": path, "size": 0, "type": "directory"}
        builder, _ = _loaded(shard["set"])
        return {"name": path, "size": 0, "type": "file", "ETag": builder.hash}

    def open(self, path: str, mode: str = "rb", **kwargs: Any) -> io.BufferedReader:
        return io.BufferedReader(ContentStream(self._content(self._strip_protocol(path))))

    def _content(self, path: str) -> Iterator[bytes]:
        """The lines of a shard in blocks."""
        given = self._first_blocks.get(path, b"")
        if given:
            yield given
        for number, block in enumerate(_blocks(path)):
            if number or not given:
                yield block
            if not number and len(self._first_blocks) < _KEPT:
                self._first_blocks[path] = block


def _blocks(path: str) -> Iterator[bytes]:
    """
    Raises:
        OSError: the rows cannot be read.
    """
    shard = _SHARD.fullmatch(path)
    if not shard:
        raise FileNotFoundError(path)
    _, rows = _loaded(shard["set"])
    block = bytearray()
    try:
        for row in rows.shard(num_shards=int(shard["count"]), index=int(shard["index"])):
            block += orjson.dumps(row, default=_plain, option=orjson.OPT_NON_STR_KEYS) + b"\n"
            if len(block) >= _BLOCK_BYTES:
                yield bytes(block)
                block.clear()
    except OSError:
        raise
    except Exception as error:  # of the network's libraries and of whatever format the shard has
        raise OSError(f"{type(error).__name__}: {error}") from error
    yield bytes(block)


def _plain(value: Any) -> Any:
    """What JSON has no word for: bytes are text, arrays lists, all else as it is written."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.tolist() if hasattr(value, "tolist") else str(value)


@lru_cache(maxsize=16)
def _loaded(path: str) -> tuple[Any, Any]:
    """The builder of a data set, and its rows, not yet read.

    Raises:
        ConfigError: ``datasets`` is not installed, or the data set has no such configuration or split.
        OSError: it cannot be reached.
    """
    datasets = needed("datasets", f"{PROTOCOL}://{path}", 'pip install "steel-megatron[datasets]"')
    given = _NAME.fullmatch(path)
    if given is None:
        raise ConfigError(f"{PROTOCOL}://{path}", rule=f"a data set is {PROTOCOL}://NAME:CONFIG@SPLIT")
    if any(Path(given["name"], witness).is_file() for witness in ("state.json", "dataset_dict.json")):
        raise ConfigError(
            f"{PROTOCOL}://{path} was saved by save_to_disk",
            rule="such a folder is read as it is",
            fix=f"give its folder to --input: {given['name']}",
        )
    try:
        builder = datasets.load_dataset_builder(given["name"], given["config"] or None)
        return builder, builder.as_streaming_dataset(split=given["split"] or "train")
    except ValueError as error:
        raise ConfigError(
            f"{PROTOCOL}://{path}: {error}",
            rule=f"a data set is {PROTOCOL}://NAME:CONFIG@SPLIT",
            fix="correct the configuration or the split",
        ) from None
