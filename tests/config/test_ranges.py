"""Ranges of numbers: what lies inside, and their words."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from steel_megatron.config.errors import ConfigError
from steel_megatron.config.ranges import (
    AMOUNT,
    COUNT,
    LARGEST,
    Number,
    above,
    at_least,
    divisors,
    exact_number,
    parse_number,
    share,
)


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "words"),
    [
        (at_least(1, most=8), [1, 8], [0, 9], "1 to 8"),
        (above(0), [1e-9], [0, -1, math.inf, math.nan], "above 0"),
        (share(one=False), [0, 0.5], [1.0, -0.1], "0 or more and below 1"),
        (share(zero=False), [1.0], [0.0], "above 0 and at most 1"),
        (at_least(0, zero="never"), [0, LARGEST], [-1, LARGEST + 1], "0 or more; 0: never"),
    ],
)
def test_ends_belong_where_the_words_say(allowed, inside, outside, words) -> None:
    assert all(allowed.holds(value) for value in inside)
    assert not any(allowed.holds(value) for value in outside)
    assert str(allowed) == words


def test_numbers_are_read_as_people_write_them() -> None:
    assert parse_number(int, "1e9") == 10**9
    assert parse_number(float, "3e-4") == 3e-4
    for wrong in ("1.5", "nan", True, None, "x"):
        with pytest.raises(ValueError, match=r"no (whole )?number|could not convert"):
            parse_number(int, wrong)


def test_exact_numbers_end() -> None:
    assert exact_number("0.1") == Fraction(1, 10)
    assert exact_number(" 1/3 ") == Fraction(1, 3)
    for wrong in ("1/0", "1e99999999", "", "nan"):
        with pytest.raises(ValueError, match="no number"):
            exact_number(wrong)


@pytest.mark.parametrize(("text", "rule"), [("x", "a whole number, 1 or more"), ("0", "1 or more")])
def test_a_flag_outside_its_range_is_three_lines(text, rule) -> None:
    with pytest.raises(ConfigError) as caught:
        Number("--steps", int, COUNT)(text)
    assert caught.value.given == f"--steps {text}"
    assert rule in caught.value.rule
    assert caught.value.fix
    assert Number("--steps", int, AMOUNT)("0") == 0


def test_divisors_are_all_of_them() -> None:
    assert divisors(12) == "1, 2, 3, 4, 6, 12"
