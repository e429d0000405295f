"""Recipes: every form in which an operation may be written, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.corpus.cleaning.recipe import Recipe, read_recipe


def recipe(folder: Path, text: str) -> Recipe:
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return read_recipe(str(folder / "recipe.yaml"))


def test_three_forms_of_an_entry(tmp_path: Path) -> None:
    read = recipe(
        tmp_path,
        "np: 3\ndataset_path: in.jsonl\ntext_keys: [content]\nprocess:\n  - clean_ip_mapper\n  - clean_links_mapper:\n"
        "  - text_length_filter: {min_len: 3}\n  - document_minhash_deduplicator: {}\n",
    )
    assert read.steps == (("clean_ip_mapper", {}), ("clean_links_mapper", {}), ("text_length_filter", {"min_len": 3}))
    assert read.passed_over == ("document_minhash_deduplicator",)
    assert (read.workers, read.text_key, read.dataset_path, read.export_path) == (3, "content", "in.jsonl", "")
    assert [operation.name for operation in read.build()] == [name for name, _ in read.steps]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "has no list 'process'"),
        ("process: {}", "has no list 'process'"),
        ("process: [3]", "3 under 'process'"),
        ("process: [{a: {}, b: {}}]", "under 'process'"),
        ("process: [{a: [1]}]", "under 'process'"),
        ("process: []\nnp: true", "np: True"),
        ("process: []\nnp: 0", "np: 0"),
        ("process: []\ntext_keys: [a, b]", "one key holds the text"),
        ("process: [", "recipe.yaml"),
    ],
)
def test_what_is_no_recipe(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        recipe(tmp_path, text)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--recipe .*gone"):
        read_recipe(str(tmp_path / "gone.yaml"))
