"""--engine: the engines of all commands, and those that one command adds."""

from __future__ import annotations

import argparse

import pytest

from steel_megatron.cli.engine_flag import add_engine


def test_engines_of_all_and_of_one() -> None:
    parser = argparse.ArgumentParser()
    add_engine(parser, {"own": "another program"})
    assert parser.parse_args([]).engine == "local"
    for engine in ("local", "ray", "own"):
        assert parser.parse_args(["--engine", engine]).engine == engine
    assert "own: another program" in " ".join(parser.format_help().split())


def test_an_engine_of_another_command() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_engine(parser)
    with pytest.raises(argparse.ArgumentError):
        parser.parse_args(["--engine", "own"])
