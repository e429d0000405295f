"""Phases from --data-path and from a file: what is read, and what is refused where."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.samples.mixing.phase_drafts import resolve_phases
from steel_megatron.samples.mixing.phases import (
    Phase,
)
from steel_megatron.samples.mixing.phases_file import parse_data_path, read_phases


def test_data_path() -> None:
    assert parse_data_path(["d/a"]) == ({"a": "d/a"}, None)
    assert parse_data_path(["d/a", "d/b"]) == ({"a": "d/a", "b": "d/b"}, None)
    assert parse_data_path(["0.3", "a", "7", "x/b"]) == (
        {"a": "a", "b": "x/b"},
        {"a": Fraction(3, 10), "b": Fraction(7)},
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["0.3", "a", "b"], "before each prefix"),
        (["a", "0.3"], "before each prefix"),
        (["0.3", "a", "b", "0.7"], "before each prefix"),
        (["x/a", "y/a"], "two sources named 'a'"),
        (["0", "a"], "above 0"),
        ([], "empty"),
    ],
)
def test_bad_data_path(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_data_path(words)


def write(folder: Path, text: str) -> Path:
    path = folder / "phases.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_phases_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        - sources:
            wiki: {path: data/wiki, weight: 0.3}
            web: {path: /abs/web, weight: 0.7}
        - from: 1_000
          sources: {wiki: 1, web: 1/2}
        - from_tokens: 1e7
          sources:
            web: 2
            math: {path: math, weight: 1}
        """,
    )
    drafts, paths = read_phases(path, seq_length=2048)
    assert resolve_phases(drafts, {}, 2048, total_samples=10_000) == [
        Phase.of(0, {"wiki": "3/10", "web": "7/10"}),
        Phase.of(1000, {"wiki": "2/3", "web": "1/3"}),
        Phase.of(4883, {"web": "2/3", "math": "1/3"}),  # 10,000,000 / 2,048 = 4,882.8
    ]
    assert paths == {"wiki": str(tmp_path / "data/wiki"), "web": "/abs/web", "math": str(tmp_path / "math")}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds nothing"),
        ("a: 1", "list of phases"),
        ("- [1]", "mapping with the keys"),
        ("- {form: 0, sources: {a: {path: a, weight: 1}}}", r"unknown key 'form'[\s\S]*did you mean from\?"),
        ("- {sources: {a: {path: a, wieght: 1}}}", r"unknown key 'wieght'[\s\S]*did you mean weight\?"),
        ("- {from: 5, sources: {a: {path: a, weight: 1}}}", "first phase is from sample 5"),
        ("- {from: -5, sources: {a: {path: a, weight: 1}}}", "whole number"),
        ("- {from: 0.5, sources: {a: {path: a, weight: 1}}}", "whole number"),
        ("- {from: true, sources: {a: {path: a, weight: 1}}}", "whole number"),
        ("- {from: 0, from_tokens: 0, sources: {a: {path: a, weight: 1}}}", "given once"),
        ("- {sources: {}}", "sources are nothing"),
        ("- {from: 0}", "sources are nothing"),
        ("- {sources: {a: {path: a, weight: 0}}}", "weight 0 of source 'a'"),
        ("- {sources: {a: {path: a}}}", "no weight"),
        ("- {sources: {a: {path: a, weight: 1, epochs: 2}}}", "has weight and epochs"),
        ("- {sources: {a: {path: a, tokens: 0}}}", "tokens 0 of source 'a'"),
        ("- {ramp: 1, ramp_tokens: 9, sources: {a: {path: a, weight: 1}}}", "'ramp' is given once"),
        ("- {until: -1, sources: {a: {path: a, weight: 1}}}", "until is -1"),
        ("- {sources: {a: 1}}", "no path"),
        ("- {sources: {a: {path: a, weight: 1}, a: {path: b, weight: 1}}}", "'a' stands twice"),
        ("- {sources: {a: {path: a, weight: 1}}}\n- {sources: {a: 2}}", "phase 2 has no start"),
        ("- {sources: {wiki: {path: a, weight: 1}}}\n- {from: 9, sources: {wikki: 2}}", "did you mean wiki"),
        ("- {sources: {a: {path: a, weight: 1}}}\n- {from: 3, sources: {a: {path: b, weight: 1}}}", "one dataset"),
        ("- {sources: {a: {path: a, weight: 1}, b: {path: b, weight: 1}}}\n- {from: 0, sources: {a: 2}}", "phase 2 is"),
        ("- {sources: [", "not valid YAML"),
    ],
)
def test_bad_phases_file(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_phases(write(tmp_path, text), seq_length=16)


def test_missing_phases_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no phases file"):
        read_phases(tmp_path / "none.yaml", seq_length=16)
