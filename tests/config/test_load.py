"""A run file: sections or bare names, typed, with errors that say where and what to write instead."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import KNOBS, ConfigError, Range, RunConfig, load_run_config, preset_names, run_config_text


def load(tmp_path, text: str) -> RunConfig:
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    return load_run_config(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: {num_layer: 2}", "did you mean num_layers"),
        ("trainig: {seed: 1}", "did you mean training"),
        ("model: {lr: 1.0}", "move it to section 'optimizer'"),
        ("training: {seq_length: many}", "a whole number of tokens"),
        ("training: {seq_length: 12.5}", "a whole number"),
        ("training: {precision: bf8}", "one of bf16, fp16, fp32"),
        ("optimizer: {lr: }", "a number"),
        ("training: {seed: true}", "a whole number"),
        ("training: {seed: [1, 2]}", "a whole number"),
        ("optimizer: {lr: -1}", "0 or more"),
        ("optimizer: {lr: .nan}", "lr is nan"),
        ("optimizer: {adam_beta2: 1.5}", "0 or more and below 1"),
        ("training: {train_iters: 1e30}", "1 or more"),
        ("save_interval: -2", "0 or more; 0: at the end alone"),
        ("training: {rampup_batch_size: [4, -4, 100]}", "1 or more"),
        ("sequence_parallel: 1", "true or false"),
        ("save: [a, b]", "a text"),
        ("rampup_batch_size: {a: 1}", "a list"),
        ("preset: steel_1", "did you mean steel_1b"),
        ("preset: 5", "unknown preset '5'"),
        ("preset: [a]", "unknown preset"),
        ("? [1]\n: 2", "not valid YAML: while constructing a mapping"),
        ("lr: 1\noptimizer: {lr: 1, lr: 2}", "'lr' stands twice"),
        ("num_layers: 1e12", "1 to 100000"),
        ("- a\n- b", "mapping"),
        ("model: [1]", "mapping"),
        ("model: {", "not valid YAML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        load_run_config(tmp_path / "nowhere.yaml")


def test_numbers_as_people_write_them(tmp_path):
    config = load(tmp_path, "lr: 3e-4\ntrain_samples: 1e9\nbucket_size: 25_000_000\n")
    assert config.optimizer.lr == 3e-4
    assert config.training.train_samples == 10**9
    assert config.parallel.bucket_size == 25_000_000


def test_large_integers_keep_every_digit(tmp_path):
    assert load(tmp_path, "train_samples: 9007199254740993").training.train_samples == 9007199254740993


def test_the_file_overrides_the_preset(tmp_path):
    names = preset_names()
    assert "demo" in names
    config = load(tmp_path, "preset: demo\nmodel: {num_layers: 3}")
    assert config.model.num_layers == 3
    assert config.model.hidden_size == load_run_config(preset="demo").model.hidden_size


def test_every_preset_loads():
    for name in preset_names():
        load_run_config(preset=name)


@given(st.data())
def test_saved_configuration_reads_back_the_same(tmp_path_factory, data):
    drawn = {}
    for knob in data.draw(st.lists(st.sampled_from(sorted(KNOBS.values(), key=lambda k: k.name)), max_size=8)):
        allowed = knob.allowed or Range()
        one = {
            bool: st.booleans(),
            int: st.integers(int(allowed.low or 0), int(allowed.high or 2**60)).filter(allowed.holds),
            float: st.floats(allowed.low, allowed.high, allow_nan=False, allow_infinity=False).filter(allowed.holds),
            str: st.sampled_from([*knob.choices])
            if knob.choices
            else st.text(st.characters(codec="utf-8"), max_size=9),
        }[knob.kind]
        drawn[knob.name] = data.draw(st.lists(one) if knob.is_list else one)
    config = RunConfig().replace(**drawn)
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(run_config_text(config), encoding="utf-8")
    assert dataclasses.asdict(load_run_config(path)) == dataclasses.asdict(config)


def test_line_ends_of_other_alphabets_are_kept(tmp_path):
    config = RunConfig().replace(data_cache_path="a\x85b\u2028c\n")
    (tmp_path / "config.yaml").write_text(run_config_text(config), encoding="utf-8")
    assert load_run_config(tmp_path / "config.yaml").get("data_cache_path") == "a\x85b\u2028c\n"


@pytest.mark.parametrize("given", [{"file": ""}, {"preset": ""}])
def test_an_empty_file_or_preset_is_not_taken_for_none(given):
    with pytest.raises(ConfigError, match="is not empty"):
        load_run_config(**given)
