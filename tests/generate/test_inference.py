"""Which ids end a text, and on which device it is made."""

from __future__ import annotations

import json

import pytest
import torch

from steel_megatron.config import ConfigError
from steel_megatron.generate.inference import choose_device, stop_ids


@pytest.mark.parametrize(
    ("generation", "options", "tokenizer_end", "found"),
    [
        ({"eos_token_id": [1, 2]}, {"eos_token_id": 3}, 4, (1, 2)),
        ({"eos_token_id": 0}, {"eos_token_id": 3}, 4, (0,)),
        ({}, {"eos_token_id": 0}, 4, (0,)),
        (None, {"eos_token_id": None}, 0, (0,)),
        (None, {}, None, ()),
    ],
)
def test_the_ids_that_end_a_text(tmp_path, generation, options, tokenizer_end, found):
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert stop_ids(tmp_path, options, tokenizer_end) == found


@pytest.mark.parametrize(
    ("there", "name", "kind"), [(True, "auto", "cuda"), (True, "cpu", "cpu"), (False, "auto", "cpu")]
)
def test_auto_takes_a_gpu_where_there_is_one(monkeypatch, there, name, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert choose_device(name).type == kind


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="--device cuda"):
        choose_device("cuda")
