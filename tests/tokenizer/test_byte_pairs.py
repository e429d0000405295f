"""Which tokenizers the encoder in C++ reads, and which it leaves alone."""

from __future__ import annotations

import json

import pytest

from helpers.small_tokenizer import small_tiktoken, small_tokenizer
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokenizer.byte_bpe import QWEN_PATTERN
from steel_megatron.tokenizer.byte_pairs import GPT2_PATTERN, BytePairs, UnfitError, byte_pairs_of
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokenizer.steel_encoder import SteelEncoder


def changed(folder, change):
    """The tokenizer of a folder after a change of its content."""
    path = small_tokenizer(folder) / "tokenizer.json"
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return build_tokenizer(None, folder)


def test_a_vocabulary_is_the_same_from_both_kinds_of_file(tmp_path):
    from_ranks = byte_pairs_of(build_tokenizer(None, small_tiktoken(tmp_path / "t.tiktoken")))
    from_folder = byte_pairs_of(build_tokenizer(None, small_tokenizer(tmp_path / "t")))
    assert dict(zip(from_ranks.tokens, from_ranks.ids, strict=True)) == dict(
        zip(from_folder.tokens, from_folder.ids, strict=True)
    )
    assert (from_ranks.pattern, from_ranks.normal_form) == (from_folder.pattern, True) == (QWEN_PATTERN, True)


def test_merges_are_recovered(tmp_path):
    pairs = byte_pairs_of(build_tokenizer(None, small_tiktoken(tmp_path / "t.tiktoken")))
    made = pairs.backend().merges
    assert len(made) == len(pairs.tokens) - 256
    assert all(pairs.tokens[left] + pairs.tokens[right] == pairs.tokens[to] for left, right, to in made.tolist())


def _gpt2(content):
    content["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    content["normalizer"] = None


def test_gpt2_needs_no_pattern_in_its_file(tmp_path):
    pairs = byte_pairs_of(changed(tmp_path, _gpt2))
    assert (pairs.pattern, pairs.normal_form) == (GPT2_PATTERN, False)


def _pattern(content):
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\w+|\s+|."


def _prefix(content):
    content["pre_tokenizer"]["pretokenizers"][-1]["add_prefix_space"] = True


def _normalizer(content):
    content["normalizer"] = {"type": "NFKC"}


def _added(content):
    content["added_tokens"].append({**content["added_tokens"][0], "content": "word", "id": 700, "special": False})


def test_a_text_with_an_added_token_goes_to_the_tokenizer(tmp_path):
    tokenizer = changed(tmp_path, _added)
    assert byte_pairs_of(tokenizer).added == (b"word",)
    encoder = SteelEncoder.of(tokenizer, tmp_path / "encoder")
    for text in ("a word <|im_end|>", "words", "wor d", "<|im_end|> 中文"):
        assert encoder.encode_batch([text]).ids_T.tolist() == tokenizer.encode(text)


def _apart(content):
    content["model"]["merges"].append(content["model"]["merges"][0])


def _another_split(content):
    merges = content["model"]["merges"]
    place, token = next((i, "".join(m)) for i, m in enumerate(merges) if len("".join(m)) == 3)
    cut = 1 if len(merges[place][0]) == 2 else 2
    merges[place] = [token[:cut], token[cut:]]


def _unknown(content):
    content["model"]["unk_token"] = "<|endoftext|>"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_pattern, "does not know the pre-tokenizer"),
        (_prefix, "does not know the pre-tokenizer"),
        (_normalizer, "does not know the normaliser NFKC"),
        (_apart, "stand apart"),
        (_another_split, "merges are not those that its tokens come of|out of vocabulary"),
        (_unknown, "not a byte-level BPE"),
    ],
)
def test_what_it_would_do_otherwise_is_left_to_others(tmp_path, change, reason):
    with pytest.raises(Exception, match=reason):
        byte_pairs_of(changed(tmp_path, change))


def test_other_kinds_are_left_alone():
    with pytest.raises(UnfitError, match="does not read a NullTokenizer's model"):
        byte_pairs_of(NullTokenizer(5))


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [([b"a", b"b"], "a byte has no token"), ([*(bytes([byte]) for byte in range(256)), b""], "an empty token")],
)
def test_tokens_that_are_no_vocabulary_are_refused(tokens, reason):
    with pytest.raises(UnfitError, match=reason):
        BytePairs(tokens, list(range(len(tokens))), QWEN_PATTERN, True, True).backend()
