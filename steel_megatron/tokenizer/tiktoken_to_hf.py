"""From a ``.tiktoken`` vocabulary to a Hugging Face folder that gives the same ids."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tokenizers import models

from steel_megatron.tokenizer.byte_bpe import recover_merges, spell
from steel_megatron.tokenizer.hf_folder import byte_level_bpe, write_folder


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
        # tiktoken takes a piece that is a token as it is; that matters only for tokens that no merge makes.
        ignore_merges=unreachable > 0,
    )
    names = sorted(special_tokens, key=special_tokens.__getitem__)
    write_folder(byte_level_bpe(model, pattern, normalization, names), names, folder)
