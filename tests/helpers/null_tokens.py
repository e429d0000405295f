"""Lines tokenised by the NullTokenizer: ids are the numbers of the text."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

from steel_megatron.jobs.inputs import Input
from steel_megatron.jobs.parts import InputFile, Part, line_parts, numbered, whole_file
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens.tokenise.batch import EncodeJob
from steel_megatron.tokens.tokenise.part import PartFiles, PartJob

EOD = 100


def encode_job(keys: tuple[str, ...] = ("text",), eod: bool = False, dtype: str = "uint16") -> EncodeJob:
    tokenizer = NullTokenizer(EOD)
    return EncodeJob(tokenizer, pickle.dumps(tokenizer), keys, EOD if eod else None, dtype, {})


def lines_of_texts(texts: Sequence[str]) -> bytes:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()


def part_job(folder: Path, eod: bool = False, batch_bytes: int = 1 << 20) -> PartJob:
    folder.mkdir(exist_ok=True)
    return PartJob(encode_job(eod=eod), PartFiles(str(folder), 1), batch_bytes)


def parts_of_file(path: Path, part_bytes: int = 1 << 20) -> list[Part]:
    """The parts of one file of lines."""
    return numbered(line_parts(whole_file(InputFile.of(Input(str(path), path.name, False))), part_bytes))
