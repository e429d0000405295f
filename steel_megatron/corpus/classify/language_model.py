"""A language model over characters, trained here: perplexity of texts without a download.

The file: ``STEELNGR``; the length of the header in 4 bytes, little-endian; the header in JSON; zeros up to a multiple
of 64; the characters, 4 bytes each; zeros again; the table, 8 bytes for each place, which is mapped and so shared by
the processes of a machine; xxh3-128 of all before it. ``csrc/classify/language_model.h`` tells of the table.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from steel_megatron import __version__
from steel_megatron._classify import LanguageModel, LanguageModelTrainer
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.classify.texts import Labelled, texts_of
from steel_megatron.jobs.durable import refuse_other, whole
from steel_megatron.jobs.inputs import JSON_LINES, find_inputs
from steel_megatron.jobs.parts import InputFile, key_of
from steel_megatron.jobs.progress import Progress
from steel_megatron.jobs.tasks import disk_errors
from steel_megatron.jobs.writable import check_file

MAGIC = b"STEELNGR"
FORMAT = 1
ALIGNED = 64
HASH_BYTES = 16
_HELD_OUT = 100  # one text of so many is held out
_BATCH = 1000  # texts handed to the trainer at once
_SPECIAL = ("<unk>", "<line>")  # tokens 0 and 1 in an ARPA file
_READERS = ("<s>", "</s>")


@dataclass(frozen=True)
class NgramSettings:
    """
    Args:
        order: characters of the longest n-gram.
        least_count: n-grams of three and more characters that are seen less often are left out.
        characters: that are read of a text, from its beginning.
        most_bytes: of the files that are read.
    """

    order: int = 5
    least_count: int = 2
    characters: int = 10_000
    key: str = "text"
    most_bytes: int = 100_000_000


class Ngrams:
    """A model from a file."""

    def __init__(self, path: Path, header: Mapping[str, Any], characters: NDArray[np.uint32], slots: Any) -> None:
        self.path, self.header = path, header
        self._model = LanguageModel(characters, header["order"], header["unseen"], header["characters"], slots)

    def perplexities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Per text, of a character: the exponential of minus the mean logarithm of its probability; 1 of no text."""
        found: NDArray[np.float64] = np.exp(-self._model.mean_log_probabilities(list(texts)))
        return found


def train_ngrams(
    inputs: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    settings: NgramSettings | None = None,
    *,
    arpa: str | os.PathLike[str] = "",
    overwrite: bool = False,
) -> tuple[Ngrams, bool]:
    """Trains on the texts and writes the model; also whether it was there before.

    Args:
        arpa: also write it in this file, in the form that KenLM and others read.

    Raises:
        DataError: no input, no text in it, or another file stands where the model is to be.
    """
    settings = settings or NgramSettings()
    target = Path(output)
    found = find_inputs(inputs, JSON_LINES, output=target)
    found.tell()
    files = Labelled("", tuple(InputFile.of(file) for file in found.files))
    made_of = key_of([FORMAT, asdict(settings), [(file.name, file.bytes, file.version) for file in files.files]])
    if target.exists() and not overwrite:
        if _made_of_there(target) == made_of and not arpa:
            return read_ngrams(target, "--output"), True
        refuse_other(target, "it is not of these texts and settings" if not arpa else "--arpa is written with it")
    check_file(target)
    trainer = LanguageModelTrainer(settings.order, settings.least_count, settings.characters)
    held_out, texts, left = _feed(trainer, files, settings)
    with Progress("count and estimate", 2 * settings.order) as progress:
        trainer.finish(lambda: progress.add(1))
    header: dict[str, Any] = {
        "format": FORMAT,
        "order": settings.order,
        "unseen": trainer.unseen,
        "characters": settings.characters,
        "vocabulary": len(trainer.characters),
        "slots": len(trainer.slots),
        "ngrams": trainer.kept,
        "trained": {
            "by": f"steel_megatron {__version__}",
            "made_of": made_of,
            "settings": asdict(settings),
            "texts": texts,
            "left_out": dict(left),
        },
    }
    model = Ngrams(target, header, trainer.characters, trainer.slots)
    if held_out:
        quantiles = np.quantile(model.perplexities(held_out), (0.1, 0.5, 0.9))
        header["trained"]["held_out"] = {"texts": len(held_out), "perplexity": np.round(quantiles, 3).tolist()}
    with disk_errors(target), whole(target) as file:
        _write(file, header, trainer.characters, trainer.slots)
    if arpa:
        with disk_errors(arpa), whole(Path(arpa)) as file:
            write_arpa(file, trainer, settings.order)
    return read_ngrams(target, "--output"), False


def _feed(
    trainer: LanguageModelTrainer, files: Labelled, settings: NgramSettings
) -> tuple[list[str], int, Counter[str]]:
    """Gives the trainer each text once; those held out, how many were given, and why others were not."""
    left: Counter[str] = Counter()
    seen: set[int] = set()
    held_out: list[str] = []
    batch: list[str] = []
    with Progress("read", min(files.bytes, settings.most_bytes)) as progress:
        for text in texts_of(files, settings.key, settings.most_bytes, left, progress):
            place = xxhash.xxh3_64_intdigest(text.encode())
            if place in seen:
                left["there already"] += 1
                continue
            seen.add(place)
            (held_out if place % _HELD_OUT == 0 else batch).append(text)
            if len(batch) == _BATCH:
                trainer.add(batch)
                batch.clear()
    trainer.add(batch)
    if len(seen) == len(held_out):
        raise DataError(
            "no text in the input", rule=f"records have a string {settings.key!r}", fix="check --json-key, or give more"
        )
    return held_out, len(seen) - len(held_out), left


def _made_of_there(path: Path) -> str:
    try:
        return str(read_ngrams(path, "--output").header["trained"]["made_of"])
    except (ConfigError, KeyError):
        return ""


def _write(file: IO[bytes], header: Mapping[str, Any], characters: NDArray[np.uint32], slots: NDArray[Any]) -> None:
    head = json.dumps(header, ensure_ascii=False).encode("utf-8", "backslashreplace")
    digest = xxhash.xxh3_128()
    at = 0
    for piece in (MAGIC + struct.pack("<I", len(head)) + head, characters.astype("<u4").data, slots.astype("<u8").data):
        padded = bytes(-at % ALIGNED)
        for data in (padded, piece):
            digest.update(data)
            file.write(data)
            at += len(data) if isinstance(data, bytes) else data.nbytes
    file.write(digest.digest())


def read_ngrams(path: str | Path, flag: str = "--model") -> Ngrams:
    """The model in a file, whose table is mapped.

    Raises:
        ConfigError: it is not there, no such model, or of a later version.
        DataError: it is damaged.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(len(MAGIC) + 4)
            if not start.startswith(MAGIC) or len(start) < len(MAGIC) + 4:
                raise ConfigError(
                    f"{flag} {path} is no language model",
                    rule="it is a file that steel classify train-ngram wrote",
                    fix="check the path",
                )
            (length,) = struct.unpack_from("<I", start, len(MAGIC))
            head = file.read(length)
    except OSError as error:
        raise ConfigError(
            f"{flag} {path}: {error.strerror or error}", rule="it is the file of a language model", fix="check the path"
        ) from None
    content = np.memmap(path, np.uint8, "r")
    if xxhash.xxh3_128_digest(content[:-HASH_BYTES].data) != content[-HASH_BYTES:].tobytes():
        raise DataError(
            f"{path} is damaged: its {len(content):,} bytes do not have the hash that stands at their end",
            rule="a model is read as it was written, or not at all",
            fix="copy it again, or train it again",
        )
    header = json.loads(head)
    if header["format"] != FORMAT:
        raise ConfigError(
            f"{flag} {path} is of format {header['format']}", rule=f"this version reads {FORMAT}", fix="update steel"
        )
    at = len(start) + length
    arrays = []
    for kind, count in (("<u4", header["vocabulary"]), ("<u8", header["slots"])):
        at += -at % ALIGNED
        stop = at + count * np.dtype(kind).itemsize
        arrays.append(content[at:stop].view(kind))
        at = stop
    return Ngrams(path, header, *arrays)


def write_arpa(file: IO[bytes], trainer: LanguageModelTrainer, order: int) -> None:
    """The n-grams as an ARPA file, whose words are characters (``<line>``: a line end, ``<space>``: a space).

    A text begins behind ``order`` - 1 line ends; ``<s>`` and ``</s>`` are there because readers ask for them.
    """
    names = [*_SPECIAL, *("<space>" if code == 0x20 else chr(code) for code in trainer.characters.tolist())]
    counts = [kept + (len(_READERS) + 1) * (n == 0) for n, kept in enumerate(trainer.kept)]
    lines = ["\\data\\", *(f"ngram {n}={count}" for n, count in enumerate(counts, start=1)), ""]
    file.write("\n".join(lines).encode())
    for n in range(1, order + 1):
        file.write(f"\n\\{n}-grams:\n".encode())
        if n == 1:
            file.write(f"{trainer.unseen / math.log(10):.6f}\t<unk>\n".encode())
            file.write("".join(f"-99\t{name}\n" for name in _READERS).encode())
        tokens, logarithms = trainer.grams(n)
        scaled = logarithms / math.log(10)
        for row, (probability, left) in zip(tokens.tolist(), scaled.tolist(), strict=True):
            behind = f"\t{left:.6f}" if n < order else ""
            file.write(f"{probability:.6f}\t{' '.join(names[token] for token in row)}{behind}\n".encode())
    file.write(b"\n\\end\\\n")
