"""A number outside its range is refused before any work, in three lines that name flag, value and range."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from helpers.command_options import CommandOption, every_option
from steel_megatron.cli.main import main
from steel_megatron.config import KNOBS, Amount, ConfigError, Range, RunConfig, check_run, load_run_config
from steel_megatron.config.ranges import Number

OPTIONS = list(every_option())
NUMBERS = [option for option in OPTIONS if isinstance(option.action.type, Number | Amount)]


def number_of(option: CommandOption) -> Number | Amount:
    assert isinstance(option.action.type, Number | Amount)
    return option.action.type


def wrong(allowed: Range, whole: bool) -> Iterator[str]:
    """Below the range, above it, and what is no number."""
    if allowed.low is not None:
        yield from ("-1G", "-1.5Ti", "-2e3k")
    yield from ("nan", "inf", "-inf", "many", "-1e-3" if allowed.low is not None else "1e", "9" * 400)
    if whole:
        yield from ("1.5", str(2**63))
    if allowed.low is not None:
        yield str(int(allowed.low) - 1)
        if allowed.above_low:
            yield str(int(allowed.low))
    if allowed.high is not None:
        yield str(int(allowed.high) + 1)
        if allowed.below_high:
            yield str(int(allowed.high))


def test_every_number_has_a_range() -> None:
    """A new option that takes a number is added with add_number(), or as a knob with allowed=..."""
    bare = [
        str(option)
        for option in OPTIONS
        if option.action.type in (int, float)
        or (
            isinstance(option.action.default, int | float)
            and not isinstance(option.action.default, bool)
            and not isinstance(option.action.type, Number)
        )
    ]
    assert bare == []
    assert [knob.name for knob in KNOBS.values() if knob.kind in (int, float) and knob.allowed is None] == []
    assert len(NUMBERS) > 100
    assert {option.command[0] for option in NUMBERS} > {"convert", "clean", "dedup", "tokenize", "train", "generate"}


@pytest.mark.parametrize("option", NUMBERS, ids=str)
def test_what_lies_outside_is_refused(option: CommandOption) -> None:
    number = number_of(option)
    whole = isinstance(number, Number) and number.kind is int
    for value in wrong(number.range, whole):
        with pytest.raises(ConfigError) as caught:
            option.parser.parse_args([option.flag, value])
        lines = str(caught.value).splitlines()
        assert [line[:8] for line in lines[1:]] == ["  rule: ", "  fix:  "], lines
        assert lines[0] == f"{option.flag} {value}"
        if isinstance(number, Number):
            assert str(number.range) in lines[1]


@pytest.mark.parametrize("command", sorted({option.command for option in NUMBERS}), ids=" ".join)
def test_a_command_refuses_before_it_works(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    flag = next(option.flag for option in NUMBERS if option.command == command)
    assert main([*command, flag, "-1"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"error: {flag} -1"
    assert [line[:8] for line in lines[1:]] == ["  rule: ", "  fix:  "]


@pytest.mark.parametrize("option", NUMBERS, ids=str)
def test_the_ends_belong_to_the_range_and_the_help_tells_it(option: CommandOption) -> None:
    number = number_of(option)
    low, high = number.range.low, number.range.high
    if low is None or high is None:
        inside: list[float] = [max(1, low or 1)]
    else:
        inside = [(low + high) / 2 if low + high < 4 else int(low + high) // 2]
    inside += [low] if low is not None and not number.range.above_low else []
    inside += [high] if high is not None and not number.range.below_high else []
    for value in inside:
        if isinstance(number, Amount) or number.kind is float or value == int(value):
            whole = value == int(value)
            assert number(str(int(value) if whole else value)) == value
    assert str(number.range) in (option.action.help or "")


@pytest.mark.parametrize("knob", [knob for knob in KNOBS.values() if knob.allowed is not None], ids=lambda k: k.name)
def test_run_files_and_python_are_held_to_the_ranges(knob, tmp_path) -> None:
    outside = [math.nan, math.inf, "many", True, 2**64 if knob.kind is int else -math.inf]
    if knob.range.low is not None:
        outside.append(knob.range.low if knob.range.above_low else knob.range.low - 1)
    if knob.range.high is not None:
        outside.append(knob.range.high if knob.range.below_high else knob.range.high + 1)
    for value in outside:
        written = {"nan": ".nan", "inf": ".inf", "-inf": "-.inf", "True": "true"}.get(str(value), str(value))
        file = tmp_path / "run.yaml"
        file.write_text(f"{knob.name}: {written}\n")
        with pytest.raises(ConfigError, match=knob.name):
            load_run_config(file)
        config = RunConfig().replace(**{"train_iters": 2, knob.name: [value] if knob.is_list else value})
        with pytest.raises(ConfigError, match=knob.flag):
            check_run(config)


def test_ranges_in_words() -> None:
    assert str(Range()) == "any finite number"
    assert str(Range(0, zero="never")) == "0 or more; 0: never"
    assert str(Range(0, 1, above_low=True)) == "above 0 and at most 1"
    assert str(Range(0.5, 1)) == "0.5 to 1"
    assert str(Range(high=3, below_high=True)) == "below 3"


def test_what_is_wrong_in_itself_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("nan", "inf", "1e400"):
        main(["train", "--lr", value])
        assert "it is finite" in capsys.readouterr().err
    main(["train", "--train-iters", str(2**63)])
    assert "below 2^63" in capsys.readouterr().err
    main(["train", "--rampup-batch-size", "4", "-4", "100"])
    assert "--rampup-batch-size -4\n" in capsys.readouterr().err
