"""The encoder in C++ gives the ids of tokenizers and of tiktoken, on every text."""

from __future__ import annotations

import base64
import pickle
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models

from helpers.hostile_texts import hostile_texts
from helpers.qwen import qwen_vocabulary
from helpers.sample_texts import TEXTS, random_texts
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokenizer.byte_bpe import QWEN_PATTERN, read_ranks, recover_merges, spell
from steel_megatron.tokenizer.byte_pairs import CL100K_PATTERN, GPT2_PATTERN, LLAMA3_PATTERN
from steel_megatron.tokenizer.hf_folder import byte_level_bpe, write_folder
from steel_megatron.tokenizer.probe_texts import probe_texts
from steel_megatron.tokenizer.steel_encoder import SteelEncoder
from steel_megatron.tokenizer.tiktoken import TikTokenizer
from steel_megatron.tokenizer.train import train_bpe

DOCS = Path(__file__).parents[2] / "docs"
PATTERNS = {"qwen": QWEN_PATTERN, "llama3": LLAMA3_PATTERN, "cl100k": CL100K_PATTERN, "gpt2": GPT2_PATTERN}
pieces = st.sampled_from(
    [*"'sStTrREevlmMLdſK \t\r\n\u3000\x85aéZ09１½的中国人，。！-_=", "人民", "'ll", "\n\n", "  ", "e\u0301", "👍🏽"]
)
texts = st.lists(pieces | st.characters(codec="utf-8"), max_size=60).map("".join)


@lru_cache(maxsize=1)
def ranks() -> dict[bytes, int]:
    """A vocabulary of 3,000 tokens of Chinese, English and code, learnt from the pages of this project."""
    from steel_megatron.tokenizer.byte_bpe import byte_letters

    pages = sorted(DOCS.glob("t*.md")) + sorted(DOCS.glob("d*.md"))
    vocabulary = train_bpe([page.read_text(encoding="utf-8") for page in pages], 3000, special_tokens=()).get_vocab()
    byte_of = {letter: byte for byte, letter in byte_letters().items()}
    return {bytes(byte_of[letter] for letter in token): id_ for token, id_ in vocabulary.items()}


def write_ranks(path: Path, vocabulary: dict[bytes, int]) -> Path:
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in vocabulary.items()))
    return path


@lru_cache(maxsize=8)
def made_with(pattern: str, library: str, folder: Path):
    """A tokenizer of a library, and the encoder made of it."""
    normalization = "NFC" if pattern == "qwen" else None
    if library == "tiktoken":
        path = write_ranks(folder / f"{pattern}.tiktoken", ranks())
        settings = {"pattern": PATTERNS[pattern], "normalization": normalization, "special_tokens": ()}
        tokenizer = TikTokenizer(path, settings)
    else:
        vocabulary = {spell(token): rank for token, rank in ranks().items()}
        merges = [(spell(left), spell(right)) for left, right in recover_merges(ranks())[0]]
        backend = byte_level_bpe(models.BPE(vocabulary, merges), PATTERNS[pattern], normalization, ["<|endoftext|>"])
        write_folder(backend, ["<|endoftext|>"], folder / pattern)
        tokenizer = build_tokenizer(None, folder / pattern)
    return tokenizer, SteelEncoder.of(tokenizer, folder / f"{pattern}.{library}.pickle")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("encoders")


def check(tokenizer, encoder, batch):
    expected, found = tokenizer.encode_batch(batch), encoder.encode_batch(batch)
    if np.array_equal(expected.lengths_B, found.lengths_B) and np.array_equal(expected.ids_T, found.ids_T):
        return
    for text in batch:
        assert encoder.encode_batch([text]).ids_T.tolist() == tokenizer.encode(text), repr(text)
    raise AssertionError("the texts are right one by one, and wrong together")


both = pytest.mark.parametrize("library", ["tiktoken", "tokenizers"])
every = pytest.mark.parametrize("pattern", PATTERNS)


@both
@every
def test_on_texts_made_to_find_a_difference(folder, pattern, library):
    tokenizer, encoder = made_with(pattern, library, folder)
    check(tokenizer, encoder, [*TEXTS.values(), *probe_texts(), *random_texts(100)])
    check(tokenizer, encoder, list(hostile_texts(2000, 7, list(ranks()))))
    check(tokenizer, encoder, [page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("*.md"))])


@every
@settings(max_examples=80, deadline=None)
@given(batch=st.lists(texts, min_size=1, max_size=8))
def test_on_any_text(folder, pattern, batch):
    check(*made_with(pattern, "tiktoken", folder), batch)


@pytest.mark.parametrize(
    "unit", ["a", "ab", " ", "\n", " \n", "的", "的中", "=", "。", "é", "1", "'s", "👍", "ACGT", "\u3000"]
)
def test_runs_without_a_break(folder, unit):
    """Longer than every buffer, in time that does not grow with their square."""
    for pattern in ("qwen", "gpt2"):
        tokenizer, encoder = made_with(pattern, "tokenizers", folder)
        check(tokenizer, encoder, [unit * 3000, "x" + unit * 1025 + "x", unit * 64, unit * 63 + " y"])
    assert encoder.encode_batch([unit * 400_000]).lengths_B[0] > 0


def test_a_token_that_no_merge_makes_is_found_as_a_whole_piece_only(folder):
    vocabulary = dict(ranks())
    for token in ("zqxjkv", "龘鱻龘", "龘，"):
        vocabulary[token.encode()] = len(vocabulary)
    path = write_ranks(folder / "unmade.tiktoken", vocabulary)
    tokenizer = TikTokenizer(path, {"special_tokens": ()})
    encoder = SteelEncoder.of(tokenizer, folder / "unmade.pickle")
    check(
        tokenizer,
        encoder,
        ["zqxjkv", " zqxjkv", "azqxjkv", "龘鱻龘", "龘鱻龘龘", "的龘鱻龘", "zqxjkv龘鱻龘", "龘，龘鱻龘，"],
    )


def test_a_text_with_a_character_of_no_settled_class_goes_to_the_tokenizer(folder, monkeypatch):
    tokenizer, encoder = made_with("qwen", "tiktoken", folder)
    asked = []
    monkeypatch.setattr(SteelEncoder, "_reference_ids", lambda self, text: asked.append(text) or tokenizer.encode(text))
    batch = ["plain", "\u0378 unassigned", "e\u0301", "'\u017f"]
    check(tokenizer, encoder, batch)
    assert asked == ["\u0378 unassigned", "'\u017f"]


def test_half_a_surrogate_pair_is_an_error(folder):
    _, encoder = made_with("qwen", "tiktoken", folder)
    with pytest.raises(UnicodeEncodeError):
        encoder.encode_batch(["a", "\ud800"])
    assert encoder.encode_batch(["a"]).lengths_B.tolist() == [1]


def test_it_can_be_pickled(folder):
    tokenizer, encoder = made_with("qwen", "tiktoken", folder)
    check(tokenizer, pickle.loads(pickle.dumps(encoder)), list(TEXTS.values()))


@both
def test_qwen(tmp_path, library):
    tokenizer = build_tokenizer(None, qwen_vocabulary())
    tokens = list(read_ranks(qwen_vocabulary()))
    if library == "tokenizers":
        tokenizer.save_pretrained(tmp_path / "qwen")
        tokenizer = build_tokenizer(None, tmp_path / "qwen")
    check(tokenizer, SteelEncoder.of(tokenizer, tmp_path / "qwen.pickle"), list(hostile_texts(3000, 3, tokens)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@both
@every
def test_a_million_texts(folder, pattern, library):
    tokenizer, encoder = made_with(pattern, library, folder)
    batch: list[str] = []
    for text in hostile_texts(1_000_000, 11, list(ranks())):
        batch.append(text)
        if len(batch) == 4000:
            check(tokenizer, encoder, batch)
            batch = []
