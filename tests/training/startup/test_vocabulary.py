"""The run's tokenizer against the size of its vocabulary."""

from __future__ import annotations

from pathlib import Path

from steel_megatron.config import RunConfig
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.training.startup.vocabulary import FOLDER, keep_tokenizer, run_tokenizer


def test_none_is_named() -> None:
    assert run_tokenizer(RunConfig.of(vocab_size=100)) is None


def test_the_null_tokenizer_has_the_size_of_the_vocabulary() -> None:
    found = run_tokenizer(RunConfig.of(tokenizer_type="NullTokenizer", vocab_size=100))
    assert isinstance(found, NullTokenizer)
    assert found.vocab_size == 101


def test_one_without_a_hugging_face_form_leaves_nothing(tmp_path: Path) -> None:
    keep_tokenizer(NullTokenizer(5), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "own").write_text("x")
    keep_tokenizer(NullTokenizer(5), tmp_path)
    assert (tmp_path / FOLDER / "own").read_text() == "x"
