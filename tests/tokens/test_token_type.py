"""Ids of three bytes: the same as of four, through tokenising, shuffling, joining, inspecting and reading samples."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import ConfigError, DataError
from steel_megatron.reports.compare import compare_datasets
from steel_megatron.reports.inspect import inspect_dataset, verify
from steel_megatron.samples.sources import PackingOptions, open_source
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens import token_type
from steel_megatron.tokens.document_lengths import document_lengths
from steel_megatron.tokens.indexed import IndexedDataset, IndexedWriter
from steel_megatron.tokens.merge.run import merge
from steel_megatron.tokens.token_type import UINT24, chosen_type, from_stored, stored, to_stored
from steel_megatron.tokens.tokenise.run import tokenize

VOCABULARY = 151_936


@given(st.lists(st.integers(0, (1 << 24) - 1)))
def test_there_and_back(ids: list[int]) -> None:
    raw = to_stored(np.array(ids, np.int32), UINT24)
    assert raw.nbytes == 3 * len(ids)
    assert raw.tobytes() == b"".join(value.to_bytes(3, "little") for value in ids)
    assert from_stored(raw).tolist() == ids
    assert token_type.ThreeByteIds(raw)[1:-1].tolist() == ids[1:-1]


def test_three_bytes_are_for_their_vocabularies() -> None:
    assert [chosen_type("auto", size) for size in (100, 65_499, 65_500)] == ["uint16", "uint16", "int32"]
    assert chosen_type(UINT24, 65_500) == chosen_type(UINT24, 1 << 24) == UINT24
    for size in (65_499, (1 << 24) + 1):
        with pytest.raises(ConfigError, match="three bytes are for vocabularies"):
            chosen_type(UINT24, size)
    assert [stored(name).itemsize for name in ("uint16", UINT24, "int32")] == [2, 3, 4]


@pytest.fixture
def prefixes(tmp_path: Path) -> dict[tuple[str, int | None], str]:
    """The same documents in both types, in order and shuffled."""
    chance = np.random.default_rng(0)
    texts = [" ".join(map(str, chance.integers(0, VOCABULARY, chance.integers(0, 60)))) for _ in range(300)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    made = {}
    for kind, seed in itertools.product(("auto", UINT24), (None, 7)):
        prefix = tmp_path / f"{kind}.{seed}"
        tokenizer = NullTokenizer(VOCABULARY - 1)
        how = {"append_eod": True, "shuffle_seed": seed, "part_bytes": 9000}
        tokenize([tmp_path / "a.jsonl"], prefix, tokenizer, token_type=kind, **how)
        made[kind, seed] = f"{prefix}_text_document"
    return made


@pytest.mark.parametrize("seed", [None, 7])
def test_the_ids_are_those_of_four_bytes(prefixes: dict[tuple[str, int | None], str], seed: int | None) -> None:
    four, three = (IndexedDataset(prefixes[kind, seed]) for kind in ("auto", UINT24))
    assert (four.token_type, three.token_type) == ("int32", UINT24)
    assert (four.token_bytes, three.token_bytes) == (4, 3)
    assert 3 * Path(four.prefix + ".bin").stat().st_size == 4 * Path(three.prefix + ".bin").stat().st_size
    three.validate()
    assert len(three.tokens) == len(four.tokens) == three.token_count
    np.testing.assert_array_equal(np.asarray(three.tokens), four.tokens)
    for number in range(four.document_count):
        np.testing.assert_array_equal(three.document(number), four.document(number))
    places = range(0, four.token_count, 97)
    assert [three.document_at(place) for place in places] == [four.document_at(place) for place in places]
    assert three.document_starts_between(5, 900).tolist() == four.document_starts_between(5, 900).tolist()
    assert document_lengths(three) == document_lengths(four)
    assert verify(three.prefix) == verify(four.prefix)
    assert inspect_dataset(three.prefix).dtype == UINT24
    assert compare_datasets(three.prefix, four.prefix).shared == four.document_count


@pytest.mark.parametrize("best_fit", [False, True])
def test_samples_are_those_of_four_bytes(
    prefixes: dict[tuple[str, int | None], str], tmp_path: Path, best_fit: bool
) -> None:
    found = []
    for kind in ("auto", UINT24):
        packing = PackingOptions(best_fit, str(tmp_path / kind))
        windows = open_source("a", prefixes[kind, None], 32, None, packing=packing).windows["train"]
        found.append([windows[number] for number in range(len(windows))])
    assert len(found[0]) > 20
    for four, three in zip(*found, strict=True):
        np.testing.assert_array_equal(np.asarray(getattr(three, "tokens", three)), getattr(four, "tokens", four))


def test_they_are_joined_among_themselves_and_written_by_tokenize_alone(
    prefixes: dict[tuple[str, int | None], str], tmp_path: Path
) -> None:
    both = [prefixes[UINT24, None], prefixes[UINT24, 7]]
    merged = merge(both, tmp_path / "merged")
    assert merged.dtype == UINT24
    verify(tmp_path / "merged")
    tokens = np.concatenate([np.asarray(IndexedDataset(prefix).tokens) for prefix in both])
    np.testing.assert_array_equal(np.asarray(IndexedDataset(tmp_path / "merged").tokens), tokens)
    with pytest.raises(DataError, match="different token types"):
        merge([prefixes["auto", None], prefixes[UINT24, None]], tmp_path / "mixed")
    with pytest.raises(DataError, match="'tokenize' makes it"), IndexedWriter(tmp_path / "own", UINT24) as writer:
        writer.add_document([1, 2])
