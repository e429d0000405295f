"""A tokenizer from ``--tokenizer-type``, ``--tokenizer-model`` and ``--vocab-size``."""

from __future__ import annotations

import os
from pathlib import Path

from steel_megatron.config import ConfigError, DataError, nearest
from steel_megatron.tokenizer.base import Tokenizer
from steel_megatron.tokenizer.huggingface import HuggingFaceTokenizer, looks_like_hub_name
from steel_megatron.tokenizer.null import NullTokenizer

TOKENIZER_TYPES = ("HuggingFaceTokenizer", "SentencePieceTokenizer", "TikTokenizer", "NullTokenizer")


def build_tokenizer(
    tokenizer_type: str | None,
    tokenizer_model: str | os.PathLike[str] | None,
    vocab_size: int | None = None,
) -> Tokenizer:
    """The tokenizer that the flags name.

    Args:
        tokenizer_type: one of ``TOKENIZER_TYPES``; None recognises it from the model.
        tokenizer_model: folder, vocabulary file or hub name; not used by the NullTokenizer.
        vocab_size: ids of the NullTokenizer's data, the end of a document not counted; not used by the others.

    Raises:
        ConfigError: unknown type, or a flag that the type needs is missing.
        DataError: nothing at that path, or a damaged file.
    """
    if tokenizer_type is not None and tokenizer_type not in TOKENIZER_TYPES:
        raise ConfigError(
            f"--tokenizer-type {tokenizer_type}",
            rule=f"types are {', '.join(TOKENIZER_TYPES)}",
            fix=nearest(tokenizer_type, TOKENIZER_TYPES),
        )
    if tokenizer_type == "NullTokenizer":
        if vocab_size is None:
            raise ConfigError("NullTokenizer without --vocab-size", fix="give the number of ids that the data uses")
        return NullTokenizer(vocab_size)
    if tokenizer_model is None:
        raise ConfigError(
            "no tokenizer",
            fix="give --tokenizer-model: a folder with tokenizer.json, a hub name, a .tiktoken or .model file",
        )
    path = Path(tokenizer_model)
    if tokenizer_type is None:
        tokenizer_type = recognise(path)
    if tokenizer_type == "HuggingFaceTokenizer":
        return HuggingFaceTokenizer(tokenizer_model)
    if tokenizer_type == "SentencePieceTokenizer":
        from steel_megatron.tokenizer.sentencepiece import SentencePieceTokenizer

        return SentencePieceTokenizer(_file_in(path, ".model"))
    from steel_megatron.tokenizer.tiktoken import TikTokenizer

    return TikTokenizer(_file_in(path, ".tiktoken"))


def recognise(path: Path) -> str:
    """The type of what lies at a path, by the names of its files.

    Raises:
        DataError: nothing there, or nothing that is known.
    """
    if path.is_dir():
        if (path / "tokenizer.json").is_file() or (path / "vocab.json").is_file():
            return "HuggingFaceTokenizer"
        for suffix, name in ((".tiktoken", "TikTokenizer"), (".model", "SentencePieceTokenizer")):
            if any(path.glob(f"*{suffix}")):
                return name
        if (path / "tokenizer_config.json").is_file():
            return "HuggingFaceTokenizer"
        names = sorted(entry.name for entry in path.iterdir())
        raise DataError(
            f"{path} holds no tokenizer (it holds {', '.join(names[:8]) or 'nothing'})",
            rule="a tokenizer folder has tokenizer.json, vocab.json, a .tiktoken or a .model file",
            fix="check the path given to --tokenizer-model",
        )
    suffixes = {".json": "HuggingFaceTokenizer", ".tiktoken": "TikTokenizer", ".model": "SentencePieceTokenizer"}
    known = suffixes.get(path.suffix)
    if path.is_file() and known is None:
        raise DataError(
            f"{path} as a tokenizer",
            rule="files are recognised by their ending: tokenizer.json, .tiktoken, .model",
            fix="give --tokenizer-type",
        )
    if not path.is_file() and (known is not None or not looks_like_hub_name(str(path))):
        raise DataError(f"no tokenizer at {path}", fix="check the path given to --tokenizer-model")
    return known or "HuggingFaceTokenizer"


def _file_in(path: Path, suffix: str) -> Path:
    """The file itself, or the one file of that ending in a folder."""
    if not path.is_dir():
        return path
    files = sorted(path.glob(f"*{suffix}"))
    if len(files) != 1:
        raise DataError(
            f"{path} holds {len(files)} {suffix} files", rule="one is expected", fix="give the path of the file itself"
        )
    return files[0]
