"""What the sections have in common."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest

from steel_megatron.config.errors import ConfigError
from steel_megatron.config.knob import Follows, knob
from steel_megatron.config.ranges import COUNT
from steel_megatron.config.section import Section


@dataclass(frozen=True)
class Demo(Section):
    size: int = knob(3, "A size.", allowed=COUNT)
    twice: int = knob(Follows("twice the size", lambda demo: 2 * demo.size), "Derived.", allowed=COUNT)
    names: tuple[str, ...] = knob(("a",), "Names.")


def test_a_default_follows_when_the_section_is_made_and_stays() -> None:
    assert Demo(size=4).twice == 8
    assert Demo(size=4, twice=5).twice == 5
    assert dataclasses.replace(Demo(), size=4).twice == 6


def test_lists_become_tuples_that_do_not_change() -> None:
    assert Demo(names=["x", "y"]).names == ("x", "y")  # type: ignore[arg-type]  # as YAML gives it
    with pytest.raises(dataclasses.FrozenInstanceError):
        Demo().size = 5  # type: ignore[misc]  # what the test is about


@pytest.mark.parametrize(("knobs", "given"), [({"size": 0}, "--size 0"), ({"names": ("a", "")}, "--names ''")])
def test_values_are_checked_however_they_were_set(knobs, given) -> None:
    with pytest.raises(ConfigError) as caught:
        Demo(**knobs).check()
    assert given in caught.value.given
    assert caught.value.rule
    Demo().check()
