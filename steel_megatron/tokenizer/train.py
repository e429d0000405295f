"""Training a byte-level BPE that suits Chinese and code, in the form of a Hugging Face folder.

Texts are normalised (NFC) and cut into pre-tokens by Qwen's pattern, the pre-tokens are counted, and the merges are
learned from the counts. A pre-token above 64 KiB is cut between characters.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Backend
from tokenizers import models

from steel_megatron._bpe_train import Counter, Kept, Trainer, merge_counts
from steel_megatron.config import ConfigError, DataError
from steel_megatron.tokenizer.byte_bpe import QWEN_PATTERN, QWEN_SPECIAL_TOKENS, byte_letters, spell
from steel_megatron.tokenizer.hf_folder import byte_level_bpe
from steel_megatron.tokenizer.normalization import nfc

TABLE_BYTES = 256 << 20  # of a table of counts, before it goes to a file
TRAINER_BYTES = 2 << 30
TEXT_SHARE = 0.55  # of a trainer's memory: for pre-tokens; the rest is for pairs
MOST_IDS = (1 << 24) - 1
ALL_HASHES = (0, (1 << 64) - 1)  # the first and the last


def check_vocabulary(vocab_size: int, special_tokens: Sequence[str]) -> None:
    """
    Raises:
        ConfigError: ``vocab_size`` has no room for the bytes and the special tokens, or is above ``MOST_IDS``; a
            special token is given twice.
    """
    least = 256 + len(special_tokens)
    if vocab_size < least:
        raise ConfigError(
            f"--vocab-size {vocab_size}",
            rule=f"it holds at least 256 bytes and {len(special_tokens)} special tokens",
            fix=f"use {least} or more",
        )
    if vocab_size > MOST_IDS:
        raise ConfigError(f"--vocab-size {vocab_size}", rule=f"a vocabulary that is learned has at most {MOST_IDS} ids")
    if len(set(special_tokens)) != len(special_tokens) or "" in special_tokens:
        raise ConfigError(f"--special-tokens {' '.join(special_tokens)}", rule="each is given once and is not empty")


def train_bpe(texts: Iterable[str], vocab_size: int, special_tokens: Sequence[str] = QWEN_SPECIAL_TOKENS) -> Backend:
    """A byte-level BPE of the texts after NFC and cutting by Qwen's pattern.

    The 256 bytes get the first ids, then come the merges in the order of learning, then the special tokens.

    Args:
        texts: read once, in a stream.
        vocab_size: ids in all, special tokens included. Fewer come out when the texts have no more pairs to merge.

    Raises:
        ConfigError: as :func:`check_vocabulary`.
        DataError: no text at all.
    """
    check_vocabulary(vocab_size, special_tokens)
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder, "counts")
        count_texts(texts, counts)
        return learn([counts], vocab_size, special_tokens, TRAINER_BYTES)[0]


def count_texts(texts: Iterable[str], counts: Path) -> None:
    """Writes the counts of all pre-tokens, each once."""
    parts = counts.with_name(counts.name + ".parts")
    counter = Counter(str(parts), TABLE_BYTES, 1)
    for text in texts:
        counter.add([nfc(text)])
    counter.finish()
    merge_counts([str(parts)], *ALL_HASHES, TRAINER_BYTES, str(counts))
    parts.unlink()


def learn(
    counts: Sequence[Path],
    vocab_size: int,
    special_tokens: Sequence[str],
    memory: int,
    progress: Callable[[int], Any] = lambda tokens: None,
) -> tuple[Backend, Kept]:
    """A byte-level BPE of counted pre-tokens, and what was kept of them.

    Args:
        counts: files of ``merge_counts``; each pre-token is in one of them.
        memory: bytes for pre-tokens and pairs. Where they do not have room, rare pre-tokens are drawn by their hashes,
            and stand for those that are left out.
        progress: called with the number of tokens now and then.

    Raises:
        DataError: no pre-token at all.
    """
    trainer = Trainer(
        [str(path) for path in counts], byte_ids(), int(memory * TEXT_SHARE), int(memory * (1 - TEXT_SHARE))
    )
    if not trainer.kept.counted_pretokens:
        raise DataError("no text to train a tokenizer on", fix="check --input and --json-key")
    trainer.train(vocab_size - len(special_tokens), progress)
    names = [spell(token) for token in trainer.tokens]
    merges = [(names[left], names[right]) for left, right in trainer.merges]
    model = models.BPE(vocab={name: id_ for id_, name in enumerate(names)}, merges=merges)
    return byte_level_bpe(model, QWEN_PATTERN, "NFC", special_tokens), trainer.kept


def byte_ids() -> list[int]:
    """The ids of the 256 bytes: in the order of their letters, as ``tokenizers`` has them."""
    letters = byte_letters()
    ids = [0] * 256
    for id_, byte in enumerate(sorted(range(256), key=letters.__getitem__)):
        ids[byte] = id_
    return ids
