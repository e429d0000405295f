"""What changes ids changes the fingerprint; what does not, does not."""

from __future__ import annotations

import copy
import json

import pytest

from helpers.small_tokenizer import small_tiktoken, small_tokenizer
from steel_megatron.tokenizer.fingerprint import huggingface_fingerprint
from steel_megatron.tokenizer.huggingface import HuggingFaceTokenizer
from steel_megatron.tokenizer.tiktoken import TikTokenizer


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = small_tokenizer(tmp_path_factory.mktemp("small"))
    return json.loads((folder / "tokenizer.json").read_bytes())


def test_a_file_and_a_folder_of_one_vocabulary_agree(tmp_path):
    assert (
        TikTokenizer(small_tiktoken(tmp_path / "small.tiktoken")).fingerprint
        == HuggingFaceTokenizer(small_tokenizer(tmp_path / "hf")).fingerprint
    )


def swap_merges(tokenizer):
    merges = tokenizer["model"]["merges"]
    merges[5], merges[6] = merges[6], merges[5]


def swap_ids(tokenizer):
    vocab = tokenizer["model"]["vocab"]
    first, second = list(vocab)[300:302]
    vocab[first], vocab[second] = vocab[second], vocab[first]


CHANGES = {
    "pattern": lambda t: t["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=r"\s+|\S+"),
    "behaviour of the split": lambda t: t["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"),
    "blank before the text": lambda t: t["pre_tokenizer"]["pretokenizers"][1].update(add_prefix_space=True),
    "normaliser gone": lambda t: t.update(normalizer=None),
    "another normaliser": lambda t: t.update(normalizer={"type": "NFKC"}),
    "order of merges": swap_merges,
    "a merge gone": lambda t: t["model"]["merges"].pop(),
    "ids": swap_ids,
    "a special token's name": lambda t: t["added_tokens"][0].update(content="<|other|>"),
    "a special token's id": lambda t: t["added_tokens"][0].update(id=999),
    "a special token more": lambda t: t["added_tokens"].append({**t["added_tokens"][0], "content": "<x>", "id": 600}),
    "a token found in text": lambda t: t["added_tokens"][1].update(special=False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_ids_changes_it(content, change):
    other = copy.deepcopy(content)
    CHANGES[change](other)
    assert huggingface_fingerprint(other) != huggingface_fingerprint(content)


NO_CHANGES = {
    "decoder": lambda t: t.update(decoder=None),
    "post-processor": lambda t: t.update(post_processor={"type": "ByteLevel"}),
    "truncation": lambda t: t.update(truncation={"max_length": 8}),
    "order of the vocabulary in the file": lambda t: t["model"].update(
        vocab=dict(reversed(t["model"]["vocab"].items()))
    ),
    "merges as text": lambda t: t["model"].update(merges=[" ".join(pair) for pair in t["model"]["merges"]]),
    "normaliser in a list": lambda t: t.update(normalizer={"type": "Sequence", "normalizers": [t["normalizer"]]}),
}


@pytest.mark.parametrize("change", NO_CHANGES)
def test_what_does_not_change_ids_does_not_change_it(content, change):
    other = copy.deepcopy(content)
    NO_CHANGES[change](other)
    assert huggingface_fingerprint(other) == huggingface_fingerprint(content)


def test_it_is_the_same_on_every_machine(content):
    # A recorded value: manifests written by other versions stay comparable.
    fixed = copy.deepcopy(content)
    fixed["model"]["vocab"] = {token: id_ for token, id_ in fixed["model"]["vocab"].items() if id_ < 256}
    fixed["model"]["merges"] = []
    for i, token in enumerate(fixed["added_tokens"]):
        token["id"] = 256 + i
    assert huggingface_fingerprint(fixed) == "ddcfb1acf6a382b54f7634610a6d10f2"
