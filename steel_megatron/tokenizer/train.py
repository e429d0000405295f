"""Training a byte-level BPE that suits Chinese and code, in the form of a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, trainers

from steel_megatron.config import ConfigError, DataError
from steel_megatron.tokenizer.byte_bpe import QWEN_PATTERN, QWEN_SPECIAL_TOKENS
from steel_megatron.tokenizer.hf_folder import add_special_tokens, byte_level_bpe


def train_bpe(
    texts: Iterable[str],
    vocab_size: int,
    special_tokens: Sequence[str] = QWEN_SPECIAL_TOKENS,
    pattern: str = QWEN_PATTERN,
    show_progress: bool = False,
) -> Backend:
    """A byte-level BPE of the texts after NFC and cutting by the pattern.

    The 256 bytes get the first ids, then come the merges in the order of learning, then the special tokens.

    Args:
        texts: read once, in a stream; the counts of their pieces are held in memory.
        vocab_size: ids in all, special tokens included. Fewer come out when the texts have no more pairs to merge.
        show_progress: the library's own bars for counting and merging.

    Raises:
        ConfigError: ``vocab_size`` has no room for the bytes and the special tokens, or a special token is given twice.
        DataError: no text at all.
    """
    least = 256 + len(special_tokens)
    if vocab_size < least:
        raise ConfigError(
            f"--vocab-size {vocab_size}",
            rule=f"it holds at least 256 bytes and {len(special_tokens)} special tokens",
            fix=f"use {least} or more",
        )
    if len(set(special_tokens)) != len(special_tokens) or "" in special_tokens:
        raise ConfigError(f"--special-tokens {' '.join(special_tokens)}", rule="each is given once and is not empty")
    backend = byte_level_bpe(models.BPE(), pattern, "NFC")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=show_progress,
    )
    any_text = False

    def watched() -> Iterator[str]:
        nonlocal any_text
        for text in texts:
            any_text = any_text or bool(text)
            yield text

    backend.train_from_iterator(watched(), trainer)
    if not any_text:
        raise DataError("no text to train a tokenizer on", fix="check --input and --json-key")
    add_special_tokens(backend, special_tokens)
    return backend
