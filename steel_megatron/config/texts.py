"""Text files that people write: UTF-8, and YAML in which no name stands twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from steel_megatron.config.errors import ConfigError, DataError

_MERGE = "tag:yaml.org,2002:merge"


def read_text(path: Path, flag: str = "") -> str:
    """What a text file holds, without a byte order mark.

    Args:
        flag: the option that named it, for the error.

    Raises:
        ConfigError: it is not UTF-8.
        OSError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{flag} {path}: byte {error.object[error.start]:#04x} at {error.start:,} is not UTF-8".lstrip(),
            rule="it is a text file in UTF-8",
            fix=f"save it as UTF-8, as by iconv -f GB18030 -t UTF-8 {path.name}; or check that it is the file meant",
        ) from None


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON object; empty when there is no such file.

    Raises:
        DataError: it is damaged, or something else.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}", rule="it is a JSON object", fix="copy the file again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}", rule="it is a JSON object")
    return content


def some(names: Sequence[str], most: int = 3, between: str = ", ") -> str:
    """The first few, and how many there are beside them."""
    return between.join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def first_line(error: BaseException) -> str:
    """What an error says, in one line: its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def parse_yaml(text: str, path: Path) -> Any:
    """The content of a YAML file; ``path`` is named in errors.

    Raises:
        ConfigError: the text is not YAML, or names a key of a mapping twice.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())  # several lines, with a picture of the place
        raise ConfigError(
            f"{path} is not valid YAML: {words}",
            rule="it is YAML, and each name stands once in its mapping",
            fix="mend the place that the parser names",
        ) from error


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key given twice is an error; plain YAML lets the last one win in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: list[Any] = []  # keys that cannot be hashed are the base class's to refuse
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            name = self.construct_object(key, deep=True)
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands twice", key.start_mark)
            seen.append(name)
        return super().construct_mapping(node, deep)
