"""All sections together, by the names of their knobs."""

from __future__ import annotations

import json

import pytest

from steel_megatron.config import RunConfig
from steel_megatron.config.run import KNOBS, SECTIONS


def test_knobs_find_their_sections() -> None:
    run = RunConfig.of(lr=1e-3, num_layers=3)
    assert (run.optimizer.lr, run.model.num_layers) == (1e-3, 3)
    assert (run.get("lr"), run.get("num_layers")) == (1e-3, 3)
    changed = run.replace(lr=2e-3)
    assert (changed.get("lr"), run.get("lr")) == (2e-3, 1e-3)
    for make in (RunConfig.of, run.replace):
        with pytest.raises(KeyError, match="learning_rate"):
            make(learning_rate=1.0)


def test_positions_follow_the_sequence_unless_given() -> None:
    assert RunConfig.of(seq_length=100_000).model.max_position_embeddings == 100_000
    assert RunConfig.of(seq_length=64, max_position_embeddings=32).model.max_position_embeddings == 32


def test_the_dictionary_is_plain_and_complete() -> None:
    plain = RunConfig.of(profile_ranks=(0, 1)).to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["logging"]["profile_ranks"] == [0, 1]
    assert sum(map(len, plain.values())) == len(KNOBS)
    assert list(plain) == list(SECTIONS)
