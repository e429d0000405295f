"""The sources that data.yaml offers in comments are sources once the marks before them are gone."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from steel_megatron.corpus import find_corpus
from steel_megatron.corpus.published_table import PUBLISHED

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "examples" / "pretrain_1b" / "data.yaml").read_text(encoding="utf-8")
WHOLE = re.sub(r"(?m)^  # ( *\w+:)", r"  \1", TEXT)


def test_every_source_names_a_corpus_a_recipe_and_options_that_are_there() -> None:
    sources = yaml.safe_load(WHOLE)["sources"]
    assert len(sources) > len(yaml.safe_load(TEXT)["sources"])
    for source in sources.values():
        corpus = find_corpus(source["corpus"])
        assert set(source.get("options", {})) <= {option.name for option in corpus.options}
        assert "recipe" not in source or (ROOT / source["recipe"]).is_file()
        assert source["licence"]


def test_every_published_corpus_is_offered() -> None:
    assert set(vars(PUBLISHED)) | {"wudao"} <= {
        source["corpus"] for source in yaml.safe_load(WHOLE)["sources"].values()
    }
