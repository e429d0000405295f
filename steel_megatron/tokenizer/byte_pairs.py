"""What a byte-level BPE is made of, read from a tokenizer of any kind; for the encoder in C++."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from steel_megatron._bpe import Encoder as Backend
from steel_megatron.tokenizer.base import Tokenizer
from steel_megatron.tokenizer.byte_bpe import QWEN_PATTERN, byte_letters
from steel_megatron.tokenizer.huggingface import HuggingFaceTokenizer
from steel_megatron.tokenizer.tiktoken import TikTokenizer

GPT2_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3_PATTERN = QWEN_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
# The same pieces, written with possessive quantifiers.
CL100K_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)


class Cut:
    """How a text is cut into pieces: ``kind`` as GPT-2 ("words") or Qwen ("lines") does, ``digits`` at most in one."""

    def __init__(self, kind: Literal["words", "lines"], digits: int = 1) -> None:
        self.kind: Literal["words", "lines"] = kind
        self.digits = digits


CUTS = {
    GPT2_PATTERN: Cut("words"),
    QWEN_PATTERN: Cut("lines"),
    LLAMA3_PATTERN: Cut("lines", 3),
    CL100K_PATTERN: Cut("lines", 3),
}


class UnfitError(Exception):
    """Why an encoder is passed over."""


@dataclass(frozen=True)
class BytePairs:
    """A vocabulary.

    Args:
        tokens: by rank: what merges first comes first.
        ids: of the tokens.
        pattern: regular expression that cuts a text into pieces, one of ``CUTS``.
        whole_pieces: a piece that is a token becomes it, whether merges make it or not.
        normal_form: texts are brought to NFC first.
        added: tokens that stand beside the vocabulary and are found in text; a text that holds one is left to the
            tokenizer.
    """

    tokens: list[bytes]
    ids: list[int]
    pattern: str
    whole_pieces: bool
    normal_form: bool
    added: tuple[bytes, ...] = ()

    def backend(self) -> Backend:
        """The encoder in C++.

        Raises:
            UnfitError: the pattern is not known to it, or the tokens are no byte-level vocabulary.
        """
        cut = CUTS.get(self.pattern)
        if cut is None:
            raise UnfitError(f"it does not know the pattern {self.pattern[:80]}")
        try:
            return Backend(self.tokens, self.ids, cut.kind, cut.digits, self.whole_pieces, self.normal_form, self.added)
        except ValueError as error:
            raise UnfitError(f"the vocabulary is not its kind: {error}") from None


def byte_pairs_of(tokenizer: Tokenizer) -> BytePairs:
    """The vocabulary of a tokenizer.

    Raises:
        UnfitError: it is none that the encoder gives the ids of.
    """
    if isinstance(tokenizer, TikTokenizer):
        tokens = sorted(tokenizer.ranks, key=tokenizer.ranks.__getitem__)
        return BytePairs(tokens, list(range(len(tokens))), tokenizer.pattern, True, tokenizer.normalization == "NFC")
    if isinstance(tokenizer, HuggingFaceTokenizer):
        return _of_content(tokenizer.content)
    raise UnfitError(f"it does not read a {tokenizer.type}'s model")


def _of_content(content: Mapping[str, Any]) -> BytePairs:
    model = content["model"]
    unusual = ("unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
    if model.get("type") != "BPE" or any(model.get(name) for name in unusual):
        raise UnfitError("the tokenizer is not a byte-level BPE")
    added = {token["content"] for token in content["added_tokens"]}
    found = tuple(token["content"].encode() for token in content["added_tokens"] if not token["special"])
    pattern = _pattern_of(content.get("pre_tokenizer"))
    if pattern not in CUTS:
        raise UnfitError(f"it does not know the pre-tokenizer {str(content.get('pre_tokenizer'))[:200]}")
    whole_pieces = bool(model.get("ignore_merges"))
    tokens, given = _tokens_by_rank(model, added, whole_pieces)
    vocab = model["vocab"]
    byte_of = {letter: byte for byte, letter in byte_letters().items()}
    try:
        spelled = [bytes(byte_of[letter] for letter in token) for token in tokens]
    except KeyError as error:
        raise UnfitError(f"the vocabulary is not spelled in bytes ({error})") from None
    pairs = BytePairs(spelled, [vocab[token] for token in tokens], pattern, whole_pieces, _is_nfc(content), found)
    made = pairs.backend().merges.tolist()
    if len(made) != len(given) or any(
        (tokens[left], tokens[right]) not in given[tokens[to]] for left, right, to in made
    ):
        raise UnfitError("its merges are not those that its tokens come of")
    return pairs


def _tokens_by_rank(
    model: Mapping[str, Any], added: set[str], whole_pieces: bool
) -> tuple[list[str], dict[str, set[tuple[str, str]]]]:
    """Tokens: the bytes, those that merge in the order of their merges, the rest; and the merges that make each.

    Raises:
        UnfitError: the merges of a token stand apart, so that it has no one rank.
    """
    made: dict[str, set[tuple[str, str]]] = {}
    last = ""
    for merge in model["merges"]:
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        token = left + right
        if token != last and token in made:
            raise UnfitError(f"the merges of {token!r} stand apart")
        made.setdefault(token, set()).add((left, right))
        last = token
    letters = [letter for letter in byte_letters().values() if letter in model["vocab"]]
    rest = set(model["vocab"]) - set(letters) - set(made) - added if whole_pieces else set()
    return [*letters, *made, *sorted(rest)], made


def _pattern_of(pre_tokenizer: Mapping[str, Any] | None) -> str | None:
    """The pattern of a pre-tokenizer that cuts by it and then spells bytes; None for another."""
    steps = (pre_tokenizer or {}).get("pretokenizers") or [pre_tokenizer or {}]
    *splits, last = steps
    if last.get("type") != "ByteLevel" or last["add_prefix_space"]:
        return None
    if not splits:
        return GPT2_PATTERN if last.get("use_regex", True) else None
    split = splits[0]
    if len(splits) > 1 or split["type"] != "Split" or last.get("use_regex", True):
        return None
    pattern = split["pattern"].get("Regex")
    return pattern if split["behavior"] == "Isolated" and not split["invert"] else None


def _is_nfc(content: Mapping[str, Any]) -> bool:
    normalizer = content.get("normalizer")
    if normalizer is not None and normalizer["type"] == "Sequence":
        steps = normalizer["normalizers"]
        normalizer = steps[0] if len(steps) == 1 else normalizer if steps else None
    if normalizer is not None and normalizer["type"] != "NFC":
        raise UnfitError(f"it does not know the normaliser {normalizer['type']}")
    return normalizer is not None
