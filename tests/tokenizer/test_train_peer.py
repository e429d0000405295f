"""Our trainer of byte-pair encodings beside that of ``tokenizers``: the same pre-tokens, vocabulary and merges."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from helpers.bpe_peer import learned, mixed_texts, their_bpe
from helpers.sample_texts import TEXTS
from steel_megatron._bpe_train import Trainer, pretokens
from steel_megatron.tokenizer.byte_bpe import QWEN_PATTERN
from steel_megatron.tokenizer.train import byte_ids, count_texts, train_bpe

ROOT = Path(__file__).parents[2]
SPLIT = pre_tokenizers.Split(Regex(QWEN_PATTERN), behavior="isolated")
REAL = [*TEXTS.values(), *(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("[a-d]*.md")))]


def their_pretokens(text: str) -> list[str]:
    return [piece for piece, _ in SPLIT.pre_tokenize_str(text)]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_pretokens_of_any_text(text):
    assert pretokens(text) == their_pretokens(text)


@given(st.text(st.sampled_from(list("aZé的 \t\n\r\u00a0\u3000'sStTrReEvVmMlLdDſ1½.,\U0001f600\u0301"))))
def test_pretokens_where_kinds_meet(text):
    assert pretokens(text) == their_pretokens(text)


def test_the_table_of_characters_is_that_of_the_installed_library():
    spec = importlib.util.spec_from_file_location("unicode_classes", ROOT / "tools" / "unicode_classes.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.TARGET.read_text(encoding="utf-8") == tool.header(), "run tools/unicode_classes.py"


@pytest.mark.parametrize("seed", range(40))
def test_merges_of_mixed_texts(seed):
    texts = mixed_texts(seed)
    size = (257, 300, 700, 3000)[seed % 4]
    assert learned(train_bpe(texts, size, [])) == learned(their_bpe(texts, size))


def test_real_texts_give_the_same_file():
    special = ["<|endoftext|>", "<pad>"]
    ours, theirs = train_bpe(REAL, 4000, special), their_bpe(REAL, 4000, special)
    assert ours.to_str() == theirs.to_str()
    assert len(learned(ours)[0]) == 4000 - len(special)


@given(st.lists(st.text(st.sampled_from("ab的"), max_size=30), min_size=1, max_size=6), st.integers(256, 290))
def test_merges_of_few_characters(texts, size):
    if any(texts):
        assert learned(train_bpe(texts, size, [])) == learned(their_bpe(texts, size))


@pytest.mark.parametrize("memory", [1, 3 << 20, 1 << 30])
def test_memory_for_pairs_changes_nothing(memory, tmp_path):
    """With little, the text is searched often, and pairs with many places are merged without a list of them."""
    texts = [*REAL, "ab" * 30_000]
    counts = tmp_path / "counts"
    count_texts(texts, counts)
    ids = []
    for room in (1 << 30, memory):
        trainer = Trainer([str(counts)], byte_ids(), 100 << 20, room)
        trainer.train(1500, lambda tokens: None)
        assert trainer.kept.threshold == 1
        ids.append((trainer.tokens, trainer.merges))
    assert ids[0] == ids[1]


@pytest.mark.parametrize("unit", ["的", "ACGT", "\U0001f600", " ", "\n", "=", "QmFzZTY0", "1"])
def test_a_long_run_is_learned_whole(unit):
    text = unit * (300_000 // len(unit))
    backend = train_bpe([text], 300, [])
    assert backend.decode(backend.encode(text).ids, skip_special_tokens=False) == text
