"""steel merge: what is refused, and what is said where nothing can be checked."""

from __future__ import annotations

import argparse

import pytest

from helpers.megatron_files import read_megatron, write_megatron
from steel_megatron.cli.merge_command import add_arguments, run
from steel_megatron.config import ConfigError


def args(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_multimodal_datasets_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="only text datasets are joined"):
        run(args("--input", tmp_path, "--output-prefix", tmp_path / "x", "--multimodal"))


def test_order_is_that_of_the_flags_and_a_missing_manifest_is_said(tmp_path, capsys):
    for name, documents in (("a", [[[1, 2]]]), ("b", [[[3]], [[4, 5]]])):
        write_megatron(str(tmp_path / name), documents, "uint16")
    flags = ["--output-prefix", tmp_path / "x", "--no-manifest"]
    assert run(args("--input", tmp_path / "b.bin", tmp_path / "a", *flags)) == 0
    assert read_megatron(str(tmp_path / "x"))[1] == [[[3]], [[4, 5]], [[1, 2]]]
    out = capsys.readouterr().out
    assert "3 documents, 5 tokens (uint16) from 2 datasets" in out
    assert "no manifest" in out
