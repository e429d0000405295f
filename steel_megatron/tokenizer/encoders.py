"""Faster ways to the same ids: several libraries encode one vocabulary, and none is used before it has been compared.

The reference is the tokenizer's own library. An encoder is taken when its ids equal the reference's on a sample of the
run's own texts and on :func:`probe_texts`.
"""

from __future__ import annotations

import base64
import importlib.metadata
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from steel_megatron import __version__
from steel_megatron.config import ConfigError
from steel_megatron.tokenizer.base import EncodedBatch, Tokenizer
from steel_megatron.tokenizer.byte_pairs import UnfitError
from steel_megatron.tokenizer.fingerprint import as_byte_bpe
from steel_megatron.tokenizer.huggingface import HuggingFaceTokenizer
from steel_megatron.tokenizer.normalization import nfc
from steel_megatron.tokenizer.probe_texts import probe_texts
from steel_megatron.tokenizer.steel_encoder import SteelEncoder
from steel_megatron.tokenizer.tiktoken import TikTokenizer

log = logging.getLogger(__name__)

AUTO = "auto"
STEEL = "steel"  # of this project
FASTEST_FIRST = (STEEL, "fastokens", "tiktoken", "tokenizers")
ENCODERS = (AUTO, *FASTEST_FIRST)
# One worker is one core: what the libraries read to keep from starting threads, before they are loaded.
ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "FASTOKENS_BPE_THREADS": "1", "RAYON_NUM_THREADS": "1"}


class Encoder(Protocol):
    """Texts → ids, special tokens off. Can be pickled."""

    def encode_batch(self, texts: Sequence[str]) -> EncodedBatch:
        """The ids of several texts."""


@dataclass(frozen=True)
class FastokensEncoder:
    """The fastokens library, from a ``tokenizer.json`` or a ``.tiktoken`` file (which it does not normalise)."""

    path: Path
    pattern: str | None  # of a .tiktoken file
    normalization: str | None = None

    @cached_property
    def _backend(self) -> Any:
        import fastokens

        if self.pattern is None:
            return fastokens.Tokenizer.from_file(str(self.path))
        return fastokens.Tokenizer.from_tiktoken(str(self.path), pattern=self.pattern, special_tokens={})

    def encode_batch(self, texts: Sequence[str]) -> EncodedBatch:
        normal = [nfc(text) for text in texts] if self.normalization == "NFC" else list(texts)
        ids, offsets = self._backend.encode_batch_flat(normal, split_special_tokens=True)
        ends = np.frombuffer(offsets, np.uint64).astype(np.int64)
        lengths_B: NDArray[np.int64] = ends[1:] - ends[:-1]
        return EncodedBatch(np.frombuffer(ids, np.int32), lengths_B)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.pattern, self.normalization)


@dataclass(frozen=True)
class ChosenEncoder:
    """The encoder of a run; ``record`` says for the manifest which it is and why."""

    encoder: Encoder
    record: dict[str, Any] = field(default_factory=dict)


class _WrongError(UnfitError):
    """An encoder failed, or gave other ids: a fault, where others just do not know the vocabulary."""


def own_name(tokenizer: Tokenizer) -> str:
    """The library that a tokenizer itself encodes with."""
    if isinstance(tokenizer, HuggingFaceTokenizer):
        return "tokenizers"
    if isinstance(tokenizer, TikTokenizer):
        return "tiktoken" if tokenizer.uses_tiktoken else "python"
    return tokenizer.type


def choose_encoder(tokenizer: Tokenizer, choice: str, sample: Sequence[str], folder: Path) -> ChosenEncoder:
    """The fastest encoder that gives the tokenizer's ids.

    Args:
        choice: one of ``ENCODERS``; ``auto`` tries them from the fastest on.
        sample: texts of the run.
        folder: where files that an encoder is made from are put; they are needed as long as it is used.

    Raises:
        ConfigError: the encoder asked for is not there, cannot encode this vocabulary, or gives other ids.
    """
    if choice not in ENCODERS:
        raise ConfigError(f"--encoder {choice}", rule=f"encoders are {', '.join(ENCODERS)}")
    own = own_name(tokenizer)
    texts = [*sample, *probe_texts()]
    passed_over: dict[str, str] = {}
    expected: EncodedBatch | None = None
    for name in FASTEST_FIRST if choice == AUTO else (choice,):
        if name == own:
            break
        try:
            encoder = _MAKERS[name](tokenizer, folder)
            if expected is None:
                expected = tokenizer.encode_batch(texts)
            _check_equal(encoder, texts, expected)
        except UnfitError as unfit:
            passed_over[name] = str(unfit)
            if isinstance(unfit, _WrongError):
                log.warning("tokenize: the encoder %s is passed over: %s", name, unfit)
            continue
        equal_to = f"equal to {own} on {len(sample):,} texts of the input and {len(probe_texts()):,} fixed texts"
        return ChosenEncoder(encoder, _record(name, equal_to, passed_over))
    if choice not in (AUTO, own):
        raise ConfigError(
            f"--encoder {choice}: {passed_over[choice]}",
            rule=f"an encoder gives the ids of the tokenizer's own library ({own})",
            fix="use --encoder auto",
        )
    return ChosenEncoder(tokenizer, _record(own, "the tokenizer's own library", passed_over))


def _record(name: str, why: str, passed_over: dict[str, str]) -> dict[str, Any]:
    try:
        version = __version__ if name == STEEL else importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = ""
    return {"name": name, "version": version, "why": why, "passed_over": dict(passed_over)}


def _check_equal(encoder: Encoder, texts: Sequence[str], expected: EncodedBatch) -> None:
    try:
        found = encoder.encode_batch(texts)
    except BaseException as error:  # a panic in a compiled library is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise _WrongError(f"it fails: {str(error)[:200]}") from None
    if np.array_equal(found.lengths_B, expected.lengths_B) and np.array_equal(found.ids_T, expected.ids_T):
        return
    ends_expected, ends_found = np.cumsum(expected.lengths_B), np.cumsum(found.lengths_B)
    for i, text in enumerate(texts):
        wanted = expected.ids_T[ends_expected[i] - expected.lengths_B[i] : ends_expected[i]]
        if not np.array_equal(wanted, found.ids_T[ends_found[i] - found.lengths_B[i] : ends_found[i]]):
            raise _WrongError(f"it gives other ids for {text[:60]!r}")


def _make_steel(tokenizer: Tokenizer, folder: Path) -> Encoder:
    return SteelEncoder.of(tokenizer, folder / "byte_pairs.pickle")


def _make_fastokens(tokenizer: Tokenizer, folder: Path) -> Encoder:
    _need("fastokens")
    if isinstance(tokenizer, TikTokenizer):
        return _loaded(FastokensEncoder(tokenizer.path, tokenizer.pattern, tokenizer.normalization))
    if isinstance(tokenizer, HuggingFaceTokenizer):
        path = folder / "tokenizer.json"
        path.write_text(json.dumps(tokenizer.content, ensure_ascii=False), encoding="utf-8")
        return _loaded(FastokensEncoder(path, None))
    raise UnfitError(f"it does not read a {tokenizer.type}'s model")


def _loaded(encoder: FastokensEncoder) -> Encoder:
    try:
        encoder.encode_batch(["x"])
    except BaseException as error:  # a panic in a compiled library is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        raise UnfitError(f"it does not load this vocabulary: {str(error)[:200]}") from None
    return encoder


def _make_tiktoken(tokenizer: Tokenizer, folder: Path) -> Encoder:
    _need("tiktoken")
    if not isinstance(tokenizer, HuggingFaceTokenizer):
        raise UnfitError(f"it does not read a {tokenizer.type}'s model")
    canonical = as_byte_bpe(tokenizer.content)
    if canonical is None:
        raise UnfitError("the tokenizer is not a byte-level BPE whose merges go by id")
    tokens, pattern, normalization = canonical
    path = folder / "vocabulary.tiktoken"
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)))
    settings = {"pattern": pattern, "normalization": normalization, "special_tokens": ()}
    return TikTokenizer(path, settings)


def _make_tokenizers(tokenizer: Tokenizer, folder: Path) -> Encoder:
    if not isinstance(tokenizer, TikTokenizer):
        raise UnfitError(f"it does not read a {tokenizer.type}'s model")
    tokenizer.save_pretrained(folder / "huggingface")
    return HuggingFaceTokenizer(folder / "huggingface")


def _need(package: str) -> None:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise UnfitError(f"it is not installed (pip install {package})") from None


_MAKERS: dict[str, Callable[[Tokenizer, Path], Encoder]] = {
    STEEL: _make_steel,
    "fastokens": _make_fastokens,
    "tiktoken": _make_tiktoken,
    "tokenizers": _make_tokenizers,
}
