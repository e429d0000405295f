"""Defaults that follow from other knobs, and configurations that do not change."""

from __future__ import annotations

import dataclasses
import json

import pytest

from steel_megatron.config import KNOBS, ModelConfig, RunConfig, check_run, load_run_config, preset_names
from steel_megatron.config.knob import Follows
from steel_megatron.config.load import PRESETS, read_yaml, run_config_text


def test_the_default_model_is_what_it_was() -> None:
    model = ModelConfig()
    assert (model.hidden_size, model.num_attention_heads) == (2048, 32)
    assert (model.ffn_hidden_size, model.num_query_groups, model.head_dim) == (5632, 4, 64)


@pytest.mark.parametrize(
    ("given", "ffn", "groups"),
    [
        ({"hidden_size": 1024, "num_attention_heads": 16}, 2816, 4),
        ({"hidden_size": 896, "num_attention_heads": 14}, 2560, 2),
        ({"hidden_size": 4096, "num_attention_heads": 64}, 11008, 8),
        ({"hidden_size": 768, "num_attention_heads": 12, "activation": "gelu"}, 3072, 4),
        ({"hidden_size": 96, "num_attention_heads": 3}, 256, 1),
        ({"hidden_size": 1024, "ffn_hidden_size": 100, "num_query_groups": 32}, 100, 32),
    ],
)
def test_they_follow_width_and_heads(given: dict, ffn: int, groups: int) -> None:
    model = RunConfig.of(**given).model
    assert (model.ffn_hidden_size, model.num_query_groups) == (ffn, groups)
    assert model == ModelConfig(**given)


@pytest.mark.parametrize("heads", range(1, 130))
def test_tensor_parallel_shares_what_follows_wherever_it_divides_the_heads(heads: int) -> None:
    for ranks in (n for n in (1, 2, 4, 8, 16) if heads % n == 0):
        given = {"hidden_size": 64 * heads, "num_attention_heads": heads, "train_iters": 1}
        check_run(RunConfig.of(**given, tensor_model_parallel_size=ranks), ranks)


def test_none_is_given_and_means_a_key_head_for_each(tmp_path) -> None:
    (tmp_path / "run.yaml").write_text("num_query_groups: null\n")
    assert load_run_config(tmp_path / "run.yaml").model.query_groups == 32


def test_what_followed_is_saved_and_stays(tmp_path) -> None:
    run = load_run_config(overrides={"hidden_size": 1024, "seq_length": 8192})
    (tmp_path / "config.yaml").write_text(run_config_text(run), encoding="utf-8")
    saved = read_yaml(tmp_path / "config.yaml")["model"]
    assert (saved["ffn_hidden_size"], saved["max_position_embeddings"]) == (2816, 8192)
    assert load_run_config(tmp_path / "config.yaml") == run
    assert json.loads(json.dumps(run.to_dict())) == run.to_dict()
    assert run.replace(hidden_size=512).model.ffn_hidden_size == 2816


def test_positions_reach_as_far_as_samples_unless_they_are_given() -> None:
    assert load_run_config(overrides={"seq_length": 512}).model.max_position_embeddings == 2048
    given = load_run_config(overrides={"seq_length": 4096, "max_position_embeddings": 1024})
    assert given.model.max_position_embeddings == 1024


def test_a_preset_says_what_would_follow() -> None:
    names = [name for name, knob in KNOBS.items() if isinstance(knob.default, Follows)]
    assert {"ffn_hidden_size", "num_query_groups"} == set(names)
    for preset in preset_names():
        assert set(names) <= set(read_yaml(PRESETS / f"{preset}.yaml")["model"])


def test_nothing_in_a_configuration_changes() -> None:
    run = RunConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.model.hidden_size = 1  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        run.model = ModelConfig()  # type: ignore[misc]
    paths = ["a", "b"]
    given = run.replace(data_path=paths)
    paths.append("c")
    assert (given.data.data_path, run.data.data_path) == (("a", "b"), None)
    assert hash(given) != hash(run)
    with pytest.raises(KeyError):
        run.replace(no_such_knob=1)
