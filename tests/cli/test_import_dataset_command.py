"""steel import-dataset: either a tokenizer or an explicit no; then ids as they are."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from steel_megatron.cli.import_dataset_command import add_arguments, run
from steel_megatron.config import ConfigError
from steel_megatron.tokens.indexed import IndexedDataset


def args(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def save(path, ids):
    np.save(path, np.array(ids, np.uint16))
    return path


@pytest.mark.parametrize(
    ("flags", "given"),
    [
        ([], "no tokenizer"),
        (["--no-manifest", "--tokenizer-type", "NullTokenizer"], "a tokenizer and --no-manifest"),
    ],
)
def test_a_tokenizer_or_no_manifest_and_not_both(tmp_path, flags, given):
    path = save(tmp_path / "a.npy", [1, 2])
    with pytest.raises(ConfigError) as caught:
        run(args("--input", path, "--output-prefix", tmp_path / "x", *flags))
    assert caught.value.given == given
    assert not list(tmp_path.glob("x*"))


def test_rows_become_documents_and_the_lack_of_a_manifest_is_said(tmp_path, capsys):
    path = save(tmp_path / "a.npy", [[1, 2, 3], [4, 5, 6]])
    assert run(args("--input", path, "--output-prefix", tmp_path / "x", "--no-manifest")) == 0
    dataset = IndexedDataset(tmp_path / "x")
    assert [dataset.document(i).tolist() for i in range(2)] == [[1, 2, 3], [4, 5, 6]]
    out = capsys.readouterr().out
    assert "2 documents, 6 tokens" in out
    assert "no manifest" in out


def test_padding_is_left_out_and_counted(tmp_path, capsys):
    path = save(tmp_path / "a.npy", [1, 9, 9, 9, 2, 9])
    flags = ["--tokenizer-type", "NullTokenizer", "--vocab-size", "10", "--end-id", "9"]
    assert run(args("--input", path, "--output-prefix", tmp_path / "x", *flags)) == 0
    assert "left out 2 ids of padding" in capsys.readouterr().out
    assert IndexedDataset(tmp_path / "x").document_count == 2
