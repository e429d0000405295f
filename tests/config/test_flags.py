"""Flags come from the knobs, under Megatron's names; wrong ones name the nearest right one."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.config import KNOBS, ConfigError, Parser, add_run_flags, load_run_config


def parse(*argv: str) -> dict:
    parser = Parser(prog="steel train")
    add_run_flags(parser)
    return {name: value for name, value in vars(parser.parse_args(list(argv))).items() if name in KNOBS}


def test_only_given_flags_are_set():
    assert parse() == {}
    assert parse("--num-layers", "3") == {"num_layers": 3}


def test_dashes_and_underscores_are_the_same():
    assert parse("--num_layers=3", "--use_distributed_optimizer") == parse(
        "--num-layers=3", "--use-distributed-optimizer"
    )


def test_underscores_in_values_stay():
    assert parse("--data-path", "0.3", "my_data", "0.7", "their__data")["data_path"] == [
        "0.3",
        "my_data",
        "0.7",
        "their__data",
    ]


@pytest.mark.parametrize(
    ("flag", "name", "value"),
    [
        ("--swiglu", "activation", "swiglu"),
        ("--disable-bias-linear", "add_bias_linear", False),
        ("--fp16", "precision", "fp16"),
        ("--recompute-activations", "recompute_granularity", "selective"),
        ("--no-sequence-parallel", "sequence_parallel", False),
        ("--no-load-optim", "no_load_optim", True),
    ],
)
def test_megatron_spellings(flag, name, value):
    assert parse(flag) == {name: value}


def test_negative_numbers_of_all_kinds_reach_their_flag():
    for value in ("-1e-3", "-inf", "-nan", "-1,2", "-1.", "-1/3", "-5", "-.5", "-1G", "-1.5TiB", "-1_000", "-2:4"):
        assert parse("--split", value) == {"split": value}
    assert parse("--skip-samples", "3:4", "-1:2") == {"skip_samples": ["3:4", "-1:2"]}  # behind a value, too
    with pytest.raises(ConfigError, match="expected one argument"):
        parse("--split", "-information")
    with pytest.raises(ConfigError, match="--lr -1e-3"):
        parse("--lr", "-1e-3")


def test_wrong_flag_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean --global-batch-size"):
        parse("--globl-batch-size", "4")


def test_wrong_choice_and_wrong_type_are_config_errors():
    with pytest.raises(ConfigError, match="lr-decay-style"):
        parse("--lr-decay-style", "cosin")
    with pytest.raises(ConfigError, match="num-layers"):
        parse("--num-layers", "many")


def test_every_knob_has_a_flag_and_a_help_text():
    parser = Parser(prog="steel train")
    add_run_flags(parser)
    text = " ".join(parser.format_help().split())
    for knob in KNOBS.values():
        assert knob.flag in text
        assert len(knob.doc) > 5


def test_documentation_page_is_up_to_date():
    import importlib.util

    script = Path(__file__).parents[2] / "tools" / "docs" / "training_flags.py"
    spec = importlib.util.spec_from_file_location("training_flags", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python tools/docs/training_flags.py"


def test_flags_override_the_file(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("model: {num_layers: 2, hidden_size: 64}\nlr: 1e-3\n")
    config = load_run_config(file, parse("--num-layers", "5"))
    assert (config.model.num_layers, config.model.hidden_size, config.optimizer.lr) == (5, 64, 1e-3)
