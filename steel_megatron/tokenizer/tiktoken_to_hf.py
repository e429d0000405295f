"""From a ``.tiktoken`` vocabulary to a Hugging Face folder that gives the same ids.

A ``.tiktoken`` file has tokens and ranks; ``tokenizers`` wants the pairs that merge. The pair of a token is what its
own bytes come to when only tokens of lower rank are merged: when its rank is reached, whatever stands beside it, its
bytes are in exactly these two parts, or a part reaches over its edge and the token cannot arise there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tokenizers import models

from steel_megatron.tokenizer.byte_bpe import merge, spell
from steel_megatron.tokenizer.hf_folder import byte_level_bpe, write_folder


def recover_merges(ranks: Mapping[bytes, int]) -> tuple[list[tuple[bytes, bytes]], int]:
    """The merging pairs in order of rank, and the number of tokens that no merge leads to.

    Such a token arises only where it is a whole piece of text.
    """
    pairs, unreachable = [], 0
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) == 1:
            continue
        parts = merge(token, ranks, below=ranks[token])
        if len(parts) == 2:
            pairs.append((parts[0], parts[1]))
        else:
            unreachable += 1
    return pairs, unreachable


def save_tiktoken_as_hf(
    ranks: Mapping[bytes, int],
    pattern: str,
    normalization: str | None,
    special_tokens: Mapping[str, int],
    folder: Path,
) -> None:
    """Writes ``tokenizer.json`` and ``tokenizer_config.json`` for ``transformers.AutoTokenizer``."""
    pairs, unreachable = recover_merges(ranks)
    model = models.BPE(
        vocab={spell(token): rank for token, rank in ranks.items()},
        merges=[(spell(left), spell(right)) for left, right in pairs],
        ignore_merges=unreachable > 0,
    )
    names = sorted(special_tokens, key=special_tokens.__getitem__)
    write_folder(byte_level_bpe(model, pattern, normalization, names), names, folder)
