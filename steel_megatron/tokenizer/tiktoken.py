"""Vocabularies in tiktoken's format, such as ``qwen.tiktoken``."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import regex

from steel_megatron.config import DataError, nearest
from steel_megatron.config.texts import read_json_object
from steel_megatron.tokenizer.base import END_OF_TEXT, EncodedBatch, Tokenizer
from steel_megatron.tokenizer.byte_bpe import QWEN_PATTERN, QWEN_SPECIAL_TOKENS, encode_piece, read_ranks
from steel_megatron.tokenizer.fingerprint import byte_bpe_fingerprint
from steel_megatron.tokenizer.normalization import nfc
from steel_megatron.tokenizer.tiktoken_to_hf import save_tiktoken_as_hf

try:
    import tiktoken
except ImportError:  # no wheel for this platform: the plain Python path below gives the same ids
    tiktoken = None  # type: ignore[assignment]  # stands for "absent"

# Longest stretch of text handed to tiktoken at once. Its pattern matcher overflows its stack in a run of a million
# blanks, and its older versions merge in quadratic time.
STRETCH = 8192  # characters

# Between such a letter or digit and such a mark every pattern of the GPT family ends a piece, and the pieces of
# neither side depend on the other side.
_CUT = re.compile('[A-Za-z0-9\u4e00-\u9fff](?=[\\s，。、；：！？（）《》“”,.;:!?()"])')

_DEFAULTS: dict[str, Any] = {"pattern": QWEN_PATTERN, "normalization": "NFC", "special_tokens": QWEN_SPECIAL_TOKENS}


class TikTokenizer(Tokenizer):
    """A ``.tiktoken`` vocabulary with its pattern; special tokens get the ids after its ranks, in order.

    Args:
        path: the vocabulary file.
        settings: ``pattern``, ``normalization`` ("NFC" or None) and ``special_tokens``, which the file does not tell.
            When None they are read from the JSON file beside it (``qwen.tiktoken.json`` for ``qwen.tiktoken``) if there
            is one. What neither gives is Qwen's.
        use_tiktoken: False encodes in plain Python: the same ids, far slower.
    """

    type = "TikTokenizer"

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Mapping[str, Any] | None = None,
        use_tiktoken: bool = tiktoken is not None,
    ) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise DataError(f"no tokenizer file {self._path}", fix="check the path given to --tokenizer-model")
        if settings is None:
            settings = _settings_beside(self._path)
        self._arguments = (self._path, settings, use_tiktoken)
        chosen = {**_DEFAULTS, **settings}
        self.pattern: str = chosen["pattern"]
        self.normalization: str | None = chosen["normalization"]
        self.ranks = read_ranks(self._path)
        self._special = {name: len(self.ranks) + i for i, name in enumerate(chosen["special_tokens"])}
        self._pieces = regex.compile(self.pattern)
        self._encode_short_piece = lru_cache(maxsize=100_000)(lambda piece: encode_piece(piece, self.ranks))
        self._encoding = None
        if use_tiktoken:
            # The special tokens are not told to tiktoken: nothing in a text can become one.
            self._encoding = tiktoken.Encoding(
                self._path.name, pat_str=self.pattern, mergeable_ranks=self.ranks, special_tokens={}
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    @property
    def path(self) -> Path:
        """The vocabulary file."""
        return self._path

    @property
    def uses_tiktoken(self) -> bool:
        """Whether the library encodes; else plain Python does."""
        return self._encoding is not None

    @property
    def vocab_size(self) -> int:
        return len(self.ranks) + len(self._special)

    @property
    def eod_id(self) -> int | None:
        return self._special.get(END_OF_TEXT)

    @property
    def special_tokens(self) -> Mapping[str, int]:
        return self._special

    @cached_property
    def fingerprint(self) -> str:
        return byte_bpe_fingerprint(self._tokens[: len(self.ranks)], self.pattern, self.normalization, self._special)

    def encode(self, text: str) -> list[int]:
        return self.encode_batch([text]).ids_T.tolist()

    def encode_batch(self, texts: Sequence[str]) -> EncodedBatch:
        lengths_B = np.zeros(len(texts), dtype=np.int64)
        ids_T = array("i")
        for i, text in enumerate(texts):
            before = len(ids_T)
            for stretch in self._stretches(text):
                ids_T.fromlist(self._encode_stretch(stretch))
            lengths_B[i] = len(ids_T) - before
        return EncodedBatch(np.frombuffer(ids_T, dtype=np.int32), lengths_B)

    def decode(self, ids: Sequence[int]) -> str:
        return b"".join(self._tokens[id_] for id_ in ids).decode("utf-8", "replace")

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        save_tiktoken_as_hf(self.ranks, self.pattern, self.normalization, self._special, Path(folder))

    @cached_property
    def _tokens(self) -> list[bytes]:
        """Bytes by id, the special tokens' names last."""
        return sorted(self.ranks, key=self.ranks.__getitem__) + [name.encode("utf-8") for name in self._special]

    def _stretches(self, text: str) -> Iterator[str]:
        """The normalised text in stretches whose ids do not depend on one another.

        A stretch is longer than ``STRETCH`` only where the text has no safe place to cut.
        """
        if self.normalization == "NFC":
            text = nfc(text)
        start = 0
        while len(text) - start > STRETCH:
            window_end = start + STRETCH
            end = _last_cut(text, max(start, window_end - 256), window_end) or _last_cut(text, start, window_end)
            if end is None:
                following = _CUT.search(text, window_end - 1)
                end = following.end() if following else len(text)
            yield text[start:end]
            start = end
        if start < len(text):
            yield text[start:]

    def _encode_stretch(self, stretch: str) -> list[int]:
        if self._encoding is not None and len(stretch) <= STRETCH:
            return self._encoding.encode_ordinary(stretch)
        ids: list[int] = []
        for match in self._pieces.finditer(stretch):
            piece = match.group().encode("utf-8")
            ids += self._encode_short_piece(piece) if len(piece) < 64 else encode_piece(piece, self.ranks)
        return ids


def _last_cut(text: str, start: int, end: int) -> int | None:
    position = None
    for found in _CUT.finditer(text, start, end):
        position = found.end()
    return position


def _settings_beside(path: Path) -> dict[str, Any]:
    """The settings in the JSON file beside a vocabulary; empty when there is none."""
    file = path.with_name(path.name + ".json")
    settings = read_json_object(file)
    unknown = sorted(set(settings) - set(_DEFAULTS))
    if unknown:
        raise DataError(
            f"{file}: unknown setting {unknown[0]!r}",
            rule=f"settings are {', '.join(_DEFAULTS)}",
            fix=nearest(unknown[0], _DEFAULTS),
        )
    if settings.get("normalization", "NFC") not in ("NFC", None):
        raise DataError(f"{file}: normalization {settings['normalization']!r}", rule='it is "NFC" or null')
    return settings
