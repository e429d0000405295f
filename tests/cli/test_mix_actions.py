"""The phase that the flags of steel mix add describe."""

from __future__ import annotations

import argparse

import pytest

from steel_megatron.cli.mix_actions import pair, phase_of
from steel_megatron.config import ConfigError


def flags(**given) -> argparse.Namespace:
    none = dict.fromkeys(("from_", "from_tokens", "until", "ramp", "ramp_tokens"))
    return argparse.Namespace(**none | {"path": [], "weight": [], "epochs": [], "tokens": []} | given)


@pytest.mark.parametrize("word", ["web", "web=", "=3", ""])
def test_a_pair_has_a_name_and_a_value(word):
    with pytest.raises(ConfigError, match="it is NAME=VALUE"):
        pair(word, "--weight")


def test_only_the_first_equals_sign_parts():
    assert pair("a=b=c", "--path") == ("a", "b=c")


def test_weights_alone_are_short_and_the_rest_is_spelt_out(tmp_path):
    given = flags(from_=40, weight=["web=0.7"], epochs=["books=2"], path=["books=/data/books"])
    assert phase_of(given, tmp_path / "phases.yaml") == {
        "from": 40,
        "sources": {"web": 0.7, "books": {"path": "/data/books", "epochs": 2}},
    }


def test_paths_are_written_as_seen_from_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    given = flags(from_tokens=1, weight=["web=1"], path=["web=data/web"])
    source = phase_of(given, tmp_path / "run" / "phases.yaml")["sources"]["web"]
    assert source == {"path": "../data/web", "weight": 1}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "a phase without sources"),
        ({"weight": ["a=1", "a=2"]}, "source 'a' stands twice"),
        ({"weight": ["a=1"], "epochs": ["a=2"]}, "source 'a' stands twice"),
        ({"weight": ["a=1"], "path": ["b=x"]}, "--path of b"),
    ],
)
def test_sources_stand_once_with_one_amount(tmp_path, given, said):
    with pytest.raises(ConfigError) as caught:
        phase_of(flags(**given), tmp_path / "phases.yaml")
    assert caught.value.given == said
