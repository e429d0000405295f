"""Filters with models name the file that they lack."""

from __future__ import annotations

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.corpus.cleaning.model_filters import LanguageIdScore, Perplexity, model_file
from steel_megatron.corpus.cleaning.recipe import build_steps


@pytest.mark.parametrize("path", ["", "gone.bin", "."])
def test_a_model_that_is_no_file_is_named_with_the_way_out(tmp_path, path):
    given = str(tmp_path / path) if path else ""
    with pytest.raises(ConfigError) as caught:
        model_file("a_filter", "model_path", given, "a model")
    assert caught.value.given == f"a_filter: model_path: {given or 'not given'}"
    assert "nothing is downloaded" in caught.value.rule
    assert "leave a_filter out" in caught.value.fix


def test_a_file_that_is_there_is_taken(tmp_path):
    path = tmp_path / "lid.bin"
    path.write_bytes(b"")
    assert model_file("a_filter", "model_path", str(path), "a model") == str(path)


@pytest.mark.parametrize("name", ["language_id_score_filter", "perplexity_filter"])
def test_a_recipe_without_the_model_stops_before_any_document(name):
    with pytest.raises(ConfigError, match=f"{name}: model_path: not given"):
        build_steps([(name, {})])


def test_perplexity_asks_for_both_of_its_files(tmp_path):
    path = tmp_path / "zh.arpa.bin"
    path.write_bytes(b"")
    with pytest.raises(ConfigError, match="tokenizer_path: not given"):
        build_steps([("perplexity_filter", {"model_path": str(path)})])


def test_limits_are_those_of_the_parameters():
    assert LanguageIdScore(min_score=0.5).limits() == (0.5, None)
    assert Perplexity(min_ppl=3.0, max_ppl=9.0).limits() == (3.0, 9.0)
