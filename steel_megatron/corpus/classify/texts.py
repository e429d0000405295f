"""The labelled texts that a classifier is trained and tried on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import xxhash

from steel_megatron._jsonl import extract
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.corpus.readers.json_lines import split_lines
from steel_megatron.corpus.readers.json_value import parse_object
from steel_megatron.corpus.readers.row import MAX_RECORD_BYTES
from steel_megatron.jobs.files import BYTE_ORDER_MARK
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs
from steel_megatron.jobs.parts import InputFile
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.unpack import read_content

log = logging.getLogger(__name__)
BLOCK_BYTES = 4 << 20
_SHARES = 1 << 32


@dataclass(frozen=True)
class Labelled:
    """A label and the files of its texts."""

    label: str
    files: tuple[InputFile, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def labelled_inputs(given: Mapping[str, Sequence[str]]) -> tuple[Labelled, ...]:
    """The files of each label, found as every command finds its inputs.

    Raises:
        ConfigError: fewer than two labels.
        DataError: a path names nothing.
    """
    if len(given) < 2:
        raise ConfigError(
            f"{len(given)} label{'' if len(given) == 1 else 's'}",
            rule="a classifier tells two kinds of texts apart, or more",
            fix="give --good and --bad, or --label NAME PATH… twice or more",
        )
    found = []
    for label, paths in given.items():
        inputs = find_inputs(paths, JSON_LINES)
        inputs.tell()
        found.append(Labelled(label, tuple(InputFile.of(file) for file in inputs.files)))
    return tuple(found)


@dataclass
class Texts:
    """Texts of each label, those to train on and those held out; each text once.

    Args:
        left: why texts or records were left out → how many.
    """

    train: list[list[str]]
    held_out: list[list[str]]
    left: Counter[str] = field(default_factory=Counter)


def read_texts(labelled: Sequence[Labelled], key: str, held_out: float, most_bytes: int, seed: int) -> Texts:
    """Reads what is to be learned. Which texts are held out depends on their hash and the seed alone.

    Args:
        most_bytes: of each label, taken from the head of each of its files, as much as is its share of them.

    Raises:
        DataError: a file cannot be read, or a label is left without a text.
    """
    texts = Texts([[] for _ in labelled], [[] for _ in labelled])
    seen: dict[int, int] = {}  # hash of a text → its label
    with Progress("read", sum(min(each.bytes, most_bytes) for each in labelled)) as progress:
        for label, each in enumerate(labelled):
            for text in texts_of(each, key, most_bytes, texts.left, progress):
                place = xxhash.xxh3_64_intdigest(text.encode(), seed)
                before = seen.setdefault(place, -1 - label)
                if before >= 0:
                    texts.left["there already" if before == label else "under another label already"] += 1
                    continue
                seen[place] = label
                (texts.held_out if place % _SHARES < held_out * _SHARES else texts.train)[label].append(text)
    for label, each in enumerate(labelled):
        if not texts.train[label]:
            raise DataError(
                f"{each.label}: no text to train on in {', '.join(file.path for file in each.files[:3])}",
                rule=f"records are JSON objects with a string {key!r}, and some are not held out",
                fix="check --json-key, or give more texts",
            )
    return texts


def texts_of(each: Labelled, key: str, most_bytes: int, left: Counter[str], progress: Progress) -> Iterator[str]:
    """The texts of a label, of each file its share. Empty ones are none, nor those that no UTF-8 can hold."""
    size = each.bytes
    for file in each.files:
        read = given = 0

        def on_read(data: bytes) -> None:
            nonlocal read
            read += len(data)
            progress.add(len(data))

        for block, is_whole in line_blocks(read_content(file.path, on_read=on_read)):
            if is_whole:
                yield from _block_texts(block, key, left)
            else:
                left["too_long"] += 1
            given += len(block)
            # More is read than was given out, unless the file is packed.
            if size > most_bytes and min(read, given) >= file.bytes * most_bytes / size:
                break


def _block_texts(block: bytes, key: str, left: Counter[str]) -> Iterator[str]:
    (found,), odd, lines, _, _ = extract(block, [key])
    for at in odd:
        _, start, stop = lines[at].tolist()
        try:
            found[at] = text_of(block[start:stop], key)
        except RejectedRecordError as error:
            left[error.reason] += 1
            found[at] = ""
    yield from filter(str.strip, found)


def text_of(line: bytes, key: str) -> str:
    """The text in a line that the fast reader does not take.

    Raises:
        RejectedRecordError: there is none.
    """
    record = parse_object(line.removeprefix(BYTE_ORDER_MARK))
    text = record.get(key)
    if not isinstance(text, str):
        raise RejectedRecordError("missing_field" if key not in record else "not_a_string", key)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RejectedRecordError("lone_surrogate", "half a surrogate pair, which no UTF-8 can hold") from None
    return text


def line_blocks(content: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Blocks of lines, and whether these are whole: of one that is too long only the head is given, by itself."""
    lines: list[bytes] = []
    size = 0
    for line, is_whole in split_lines(content, MAX_RECORD_BYTES):
        if lines and (not is_whole or size >= BLOCK_BYTES):
            yield b"\n".join(lines), True
            lines, size = [], 0
        if is_whole:
            lines.append(line)
            size += len(line) + 1
        else:
            yield line, False
    if lines:
        yield b"\n".join(lines), True
