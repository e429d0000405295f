"""steel inspect: one thing to look at, named by a prefix, one of its files, or a run."""

from __future__ import annotations

import argparse
import json

import pytest

from helpers.megatron_files import write_megatron
from steel_megatron.cli.inspect_command import add_arguments, run, without_suffix
from steel_megatron.config import ConfigError


def args(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.mark.parametrize(
    ("path", "prefix"), [("a/x.bin", "a/x"), ("x.idx", "x"), ("x", "x"), ("x.v1", "x.v1"), ("x.bin.gz", "x.bin.gz")]
)
def test_a_file_stands_for_its_dataset(path, prefix):
    assert without_suffix(path) == prefix


def test_a_dataset_or_a_run_and_not_both(tmp_path):
    for words in ([], [tmp_path, "--run", tmp_path]):
        with pytest.raises(ConfigError) as caught:
            run(args(*words))
        assert caught.value.given == "PREFIX and --run"
    with pytest.raises(ConfigError) as caught:
        run(args("--run", tmp_path))
    assert caught.value.fix == "give --sample N or --step N"


def test_a_document_is_printed_as_json(tmp_path, capsys):
    write_megatron(str(tmp_path / "x"), [[[1, 2]], [[3]]], "uint16")
    assert run(args(tmp_path / "x.idx", "--document", 1, "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["prefix"], report["document"]) == (str(tmp_path / "x"), 1)
