"""The tokenizer that belongs to a run's or a model's folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from steel_megatron.config import ConfigError, DataConfig, DataError
from steel_megatron.tokenizer.base import Tokenizer
from steel_megatron.tokenizer.build import build_tokenizer, recognise

COPY = "tokenizer"  # the folder in which a run keeps its tokenizer


def tokenizer_of_run(
    folder: Path, data: DataConfig, vocab_size: int | None, fingerprint: str | None = None, given: str | None = None
) -> Tokenizer | None:
    """The tokenizer of a run; None when nothing names one.

    Args:
        folder: the run's folder; its copy of the tokenizer is taken if there is one.
        data: what the run was configured with; a relative path is looked up from here and from ``folder``.
        vocab_size: the model's; a NullTokenizer has no other source for it.
        fingerprint: of the tokenizer of the training data, if it is known.
        given: ``--tokenizer-model``, which wins.

    Raises:
        DataError: the tokenizer that is named is not there.
    """
    if given is not None:
        return build_tokenizer(None, given)
    if (folder / COPY).is_dir():
        return _from_copy(folder / COPY, fingerprint)
    if data.tokenizer_type == "NullTokenizer":
        return None if vocab_size is None else _null_tokenizer(vocab_size, fingerprint)
    if data.tokenizer_model is None:
        return None
    model = data.tokenizer_model
    if not Path(model).exists() and (folder / model).exists():
        model = str(folder / model)
    try:
        return build_tokenizer(data.tokenizer_type, model)
    except DataError as error:
        raise DataError(
            f"the tokenizer of {folder}: {error.given}",
            rule=error.rule,
            fix="name its place now with --tokenizer-model",
        ) from error


def _from_copy(folder: Path, fingerprint: str | None) -> Tokenizer:
    """A run's copy. That of a SentencePiece model holds two forms with two fingerprints: the original first."""
    tokenizer = build_tokenizer(None, folder)
    if fingerprint not in (None, tokenizer.fingerprint) and any(folder.glob("*.model")):
        original = build_tokenizer("SentencePieceTokenizer", folder)
        return original if original.fingerprint == fingerprint else tokenizer
    return tokenizer


def _null_tokenizer(vocab_size: int, fingerprint: str | None) -> Tokenizer:
    """Its end of a document may be counted in the model's vocabulary or not."""
    tokenizers = [build_tokenizer("NullTokenizer", None, size) for size in (vocab_size - 1, vocab_size)]
    return next((tokenizer for tokenizer in tokenizers if tokenizer.fingerprint == fingerprint), tokenizers[0])


def tokenizer_of_folder(folder: Path, given: str | None = None) -> Tokenizer | None:
    """The tokenizer of a Hugging Face folder, or the one given; None when the folder has none."""
    if given is not None:
        return build_tokenizer(None, given)
    try:
        recognise(folder)
    except DataError:
        return None
    return build_tokenizer(None, folder)


def keep_tokenizer(tokenizer: Tokenizer, folder: Path) -> bool:
    """Copies the tokenizer into a run's folder, in the place of another; False if it has no Hugging Face form."""
    temporary = folder / f"{COPY}.tmp"
    temporary.mkdir(exist_ok=True)
    try:
        tokenizer.save_pretrained(temporary)
        shutil.rmtree(folder / COPY, ignore_errors=True)
        temporary.rename(folder / COPY)
    except ConfigError:
        return False
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def check_ids(tokenizer: Tokenizer, vocab_size: int | None) -> None:
    """
    Raises:
        DataError: the tokenizer has ids for which the model has no embedding.
    """
    if vocab_size is not None and tokenizer.vocab_size > vocab_size:
        raise DataError(
            f"the tokenizer has {tokenizer.vocab_size} ids, the model {vocab_size}",
            rule="every id has a row of the embedding",
            fix="name the tokenizer of the model's data with --tokenizer-model",
        )


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer as ``transformers`` loads it.

    Raises:
        DataError: it does not.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # each tokenizer class raises its own kinds
        raise DataError(
            f"the tokenizer of {folder}: {error}", rule="it is one that transformers' AutoTokenizer loads"
        ) from error
