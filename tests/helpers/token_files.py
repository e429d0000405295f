"""Small datasets on disk."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from steel_megatron.jobs.hashes import hash_file
from steel_megatron.samples.sources import TokenizerFacts
from steel_megatron.tokens.indexed import IndexedWriter
from steel_megatron.tokens.manifest import Manifest, TokenizerRecord, manifest_path


def write_dataset(
    prefix: Path,
    *,
    documents: int,
    length: int,
    first_token: int = 0,
    tokenizer: TokenizerFacts | None = None,
    append_eod: bool = False,
) -> str:
    """Documents of equal length whose tokens count up over the whole dataset; a manifest if ``tokenizer`` is given.

    Returns the prefix as text.
    """
    manifest_path(prefix).unlink(missing_ok=True)
    for suffix in (".bin", ".idx"):
        Path(f"{prefix}{suffix}").unlink(missing_ok=True)
    with IndexedWriter(str(prefix), np.dtype(np.int32)) as writer:
        for document in range(documents):
            start = first_token + document * length
            writer.add_document(np.arange(start, start + length, dtype=np.int32))
    if tokenizer is not None:
        tokens = documents * length
        write_manifest(prefix, tokenizer, append_eod, "int32", documents, tokens, first_token + tokens - 1)
    return str(prefix)


def write_manifest(
    prefix: Path,
    tokenizer: TokenizerFacts,
    append_eod: bool,
    dtype: str,
    documents: int,
    tokens: int,
    largest_id: int,
) -> None:
    """Beside files that are there: the manifest that ``steel tokenize`` would have written."""
    assert tokenizer.fingerprint is not None
    assert tokenizer.vocab_size is not None
    Manifest(
        key="text",
        append_eod=append_eod,
        tokenizer=TokenizerRecord("NullTokenizer", tokenizer.fingerprint, tokenizer.vocab_size, tokenizer.eod_id),
        dtype=dtype,
        inputs=(),
        documents=documents,
        tokens=tokens,
        largest_id=largest_id,
        text_bytes=0,
        blank_lines=0,
        rejects={},
        outputs={name: hash_file(f"{prefix}.{name}") for name in ("bin", "idx")},
    ).write(prefix)


def write_sparse_dataset(prefix: Path, *, documents: int, length: int) -> str:
    """uint16 zeros that take no room on the disk but their index; documents of equal length."""
    with open(f"{prefix}.bin", "wb") as file:
        file.truncate(2 * length * documents)
    with open(f"{prefix}.idx", "wb") as file:
        file.write(b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, documents, documents + 1))
        np.full(documents, length, np.int32).tofile(file)
        (np.arange(documents, dtype=np.int64) * (2 * length)).tofile(file)
        np.arange(documents + 1, dtype=np.int64).tofile(file)
    return str(prefix)
