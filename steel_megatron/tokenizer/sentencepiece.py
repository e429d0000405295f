"""SentencePiece models (``tokenizer.model``)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor

from steel_megatron.config import DataError
from steel_megatron.tokenizer.base import EncodedBatch, Tokenizer, flat_batch

_CONTROL_MARK = re.compile(r"<\|.*\|>")


class SentencePieceTokenizer(Tokenizer):
    """A SentencePiece model; the end of a document is its end-of-sentence piece.

    Control pieces are never found in text by SentencePiece itself. User-defined pieces are, by their nature; those
    written ``<|…|>`` are chat marks and are made control pieces here.
    """

    type = "SentencePieceTokenizer"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise DataError(f"no tokenizer file {self._path}", fix="check the path given to --tokenizer-model")
        self._content = self._path.read_bytes()
        try:
            plain = SentencePieceProcessor(model_proto=self._content)
        except RuntimeError as error:
            raise DataError(
                f"{self._path}: {error}", rule="it is a SentencePiece model", fix="copy the file again"
            ) from None
        marks = [i for i in range(plain.vocab_size()) if _CONTROL_MARK.fullmatch(plain.id_to_piece(i))]
        if any(not plain.is_control(i) for i in marks):
            plain = SentencePieceProcessor(model_proto=_with_control(self._content, marks))
        self._processor = plain
        self._special = {plain.id_to_piece(i): i for i in range(plain.vocab_size()) if plain.is_control(i)}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._path,)

    @property
    def vocab_size(self) -> int:
        return self._processor.vocab_size()

    @property
    def eod_id(self) -> int | None:
        end = self._processor.eos_id()
        return end if end >= 0 else None

    @property
    def special_tokens(self) -> Mapping[str, int]:
        return self._special

    @cached_property
    def fingerprint(self) -> str:
        return hashlib.sha256(b"sentencepiece" + self._content).hexdigest()[:32]

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text, out_type=int, add_bos=False, add_eos=False)

    def encode_batch(self, texts: Sequence[str]) -> EncodedBatch:
        return flat_batch(
            self._processor.encode(list(texts), out_type=int, add_bos=False, add_eos=False, num_threads=1)
        )

    def decode(self, ids: Sequence[int]) -> str:
        return self._processor.decode(list(ids))

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Writes ``tokenizer.model`` and its Hugging Face form; see :mod:`.sentencepiece_to_hf` for which models."""
        from steel_megatron.tokenizer.sentencepiece_to_hf import save_sentencepiece_as_hf

        target = Path(folder)
        save_sentencepiece_as_hf(self._processor.serialized_model_proto(), target)
        (target / "tokenizer.model").write_bytes(self._content)


def _with_control(content: bytes, marks: Sequence[int]) -> bytes:
    """The model with the pieces of these ids made control pieces."""
    from sentencepiece import sentencepiece_model_pb2 as schema

    model = schema.ModelProto()  # type: ignore[attr-defined]  # protobuf makes the class at run time
    model.ParseFromString(content)
    for i in marks:
        model.pieces[i].type = model.SentencePiece.CONTROL
    return model.SerializeToString()
