"""Whether a manifest belongs to the files beside it."""

from __future__ import annotations

import os

from steel_megatron.config import DataError
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.manifest import Manifest


def check_belongs(dataset: IndexedDataset, manifest: Manifest) -> None:
    """Refuses a manifest of other files than those beside it, by counts and sizes."""
    prefix = dataset.prefix
    here = {
        "documents": dataset.document_count,
        "tokens": dataset.token_count,
        "bytes of .bin": os.path.getsize(prefix + ".bin"),
        "bytes of .idx": os.path.getsize(prefix + ".idx"),
    }
    told = {
        "documents": manifest.documents,
        "tokens": manifest.tokens,
        "bytes of .bin": manifest.outputs["bin"].bytes,
        "bytes of .idx": manifest.outputs["idx"].bytes,
    }
    for what, value in here.items():
        if value != told[what]:
            raise DataError(
                f"{prefix} has {value:,} {what}, its manifest tells of {told[what]:,}",
                rule="a manifest belongs to the files beside it",
                fix="copy the dataset again with its manifest, or tokenise it again",
            )


def check_hash(prefix: str, name: str, found: str, manifest: Manifest) -> None:
    """Refuses a file that is not what its manifest tells of.

    Args:
        name: ``bin`` or ``idx``.
        found: hash of the file.
    """
    expected = manifest.outputs[name].sha256
    if found != expected:
        raise DataError(
            f"{prefix}.{name} has SHA-256 {found}, its manifest says {expected}",
            rule="a file is as it was when its manifest was written",
            fix="copy the dataset again, or tokenise it again",
        )
