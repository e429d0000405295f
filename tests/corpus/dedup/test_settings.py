"""Sources by name, the order in which their documents are kept, and settings that cannot be."""

from __future__ import annotations

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.corpus.dedup.settings import DedupSettings, SourceInput, in_priority

INPUTS = [SourceInput("web", "a"), SourceInput("wiki", "b"), SourceInput("web", "c"), SourceInput("code", "d")]


def test_name_and_pattern() -> None:
    assert SourceInput.parse("百科-1=in/*=x.jsonl", "--input") == SourceInput("百科-1", "in/*=x.jsonl")


@pytest.mark.parametrize("given", ["a.jsonl", "=a", "web=", "a/b=c", ".hidden=c", "..=c", "a b=c", "web.zst=c"])
def test_what_is_no_source(given: str) -> None:
    with pytest.raises(ConfigError, match="it is NAME=FILE"):
        SourceInput.parse(given, "--input")


def test_priority_first_and_the_rest_as_given() -> None:
    assert [source.pattern for source in in_priority(INPUTS, ["code"])] == ["d", "a", "c", "b"]
    assert in_priority(INPUTS, []) == [INPUTS[0], INPUTS[2], INPUTS[1], INPUTS[3]]


@pytest.mark.parametrize(("priority", "says"), [(["wikl"], "wiki"), (["web", "web"], "each input once")])
def test_a_priority_that_fits_no_input(priority: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        in_priority(INPUTS, priority)


@pytest.mark.parametrize(
    "settings",
    [{"threshold": 0.49}, {"threshold": 1.01}, {"overlap_share": 0}, {"overlap_share": 1.1}, {"against": "all"}],
)
def test_settings_that_cannot_be(settings: dict[str, float | str]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings.values()))}"):
        DedupSettings(**settings)  # type: ignore[arg-type]
    DedupSettings(threshold=0.5, overlap_share=1)
