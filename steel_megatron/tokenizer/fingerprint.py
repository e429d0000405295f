"""The identity of a tokenizer: a hash of what determines the ids of a text.

Byte-level BPE vocabularies whose ids follow their merges (Qwen's, GPT-2-like ones, those trained here) have one
canonical description, so that a ``.tiktoken`` file and a Hugging Face folder of the same vocabulary have the same
fingerprint. Any other tokenizer is described by the parts of its file that decide on ids.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from steel_megatron.tokenizer.byte_bpe import byte_letters


def hash_description(description: Mapping[str, Any]) -> str:
    """32 hexadecimal digits of the SHA-256 of a JSON-able description."""
    text = json.dumps(description, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:32]


def byte_bpe_fingerprint(
    tokens: Iterable[bytes], pattern: str, normalization: str | None, special_tokens: Mapping[str, int]
) -> str:
    """Of a byte-level BPE whose merges go by id.

    Args:
        tokens: bytes of the tokens in order of their ids, special tokens left out.
        pattern: regular expression that cuts a text into pieces.
        normalization: Unicode form the text is brought to first (``NFC``), or None.
        special_tokens: text → id.
    """
    digest = hashlib.sha256()
    for token in tokens:
        digest.update(len(token).to_bytes(4, "little") + token)
    return hash_description(
        {
            "kind": "byte_bpe",
            "tokens": digest.hexdigest(),
            "pattern": pattern,
            "normalization": normalization,
            "special_tokens": dict(special_tokens),
        }
    )


def huggingface_fingerprint(tokenizer: Mapping[str, Any]) -> str:
    """Of the content of a ``tokenizer.json``: canonical where :func:`as_byte_bpe` applies, else by its parts.

    Decoder, post-processor, truncation and padding say nothing about the ids of a text and are left out.
    """
    special = {token["content"]: token["id"] for token in tokenizer.get("added_tokens") or [] if token["special"]}
    canonical = as_byte_bpe(tokenizer)
    if canonical is not None:
        tokens, pattern, normalization = canonical
        return byte_bpe_fingerprint(tokens, pattern, normalization, special)
    parts = {name: tokenizer.get(name) for name in ("normalizer", "pre_tokenizer", "model")}
    added = [
        {name: token[name] for name in ("id", "content", "special", "single_word", "lstrip", "rstrip", "normalized")}
        for token in tokenizer.get("added_tokens") or []
    ]
    return hash_description({"kind": "tokenizers", "added_tokens": added, **parts})


def as_byte_bpe(tokenizer: Mapping[str, Any]) -> tuple[list[bytes], str, str | None] | None:
    """Tokens in order of id, pattern and normal form; None when the tokenizer is not a plain byte-level BPE by ids."""
    model = tokenizer["model"]
    plain = model.get("type") == "BPE" and not any(
        model.get(name) for name in ("unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    )
    pattern = _split_pattern(tokenizer.get("pre_tokenizer"))
    normalization = _normal_form(tokenizer.get("normalizer"))
    if not plain or pattern is None or normalization is None:
        return None
    added = tokenizer.get("added_tokens") or []
    if any(not token["special"] for token in added):
        return None
    outside = {token["content"] for token in added}
    vocab = {token: id_ for token, id_ in model["vocab"].items() if token not in outside}
    if sorted(vocab.values()) != list(range(len(vocab))):
        return None
    previous = -1
    merges = [tuple(pair.split(" ", 1)) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
    for left, right in merges:
        merged = vocab.get(left + right, -1)
        if merged <= previous:
            return None
        previous = merged
    whole = len(merges) == len(vocab) - 256
    if not whole and not (model.get("ignore_merges") and len(merges) < len(vocab) - 256):
        return None
    byte_of = {letter: byte for byte, letter in byte_letters().items()}
    try:
        tokens = [bytes(byte_of[letter] for letter in token) for token in sorted(vocab, key=vocab.__getitem__)]
    except KeyError:
        return None
    return tokens, pattern, normalization if normalization != "none" else None


def _split_pattern(pre_tokenizer: Mapping[str, Any] | None) -> str | None:
    """The pattern of the usual pair: split by a pattern, then spell the bytes; None for anything else."""
    steps = (pre_tokenizer or {}).get("pretokenizers") or []
    if [step["type"] for step in steps] != ["Split", "ByteLevel"]:
        return None
    split, byte_level = steps
    pattern = split["pattern"].get("Regex")
    usual = split["behavior"] == "Isolated" and not split["invert"]
    return pattern if usual and not byte_level["add_prefix_space"] and not byte_level.get("use_regex", True) else None


def _normal_form(normalizer: Mapping[str, Any] | None) -> str | None:
    """``NFC`` or ``none``; None for another normaliser."""
    if normalizer is None:
        return "none"
    if normalizer["type"] == "Sequence":
        steps = normalizer["normalizers"]
        return "none" if not steps else _normal_form(steps[0]) if len(steps) == 1 else None
    return "NFC" if normalizer["type"] == "NFC" else None
