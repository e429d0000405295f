"""The sources that data.yaml offers in comments are sources once the marks before them are gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from helpers.published_samples import FILES, write_sample
from helpers.small_tokenizer import small_tokenizer
from steel_megatron.corpus import convert_corpus, find_corpus
from steel_megatron.corpus.published_table import PUBLISHED

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "pretrain_1b"
TEXT = (FOLDER / "data.yaml").read_text(encoding="utf-8")
WHOLE: dict[str, Any] = yaml.safe_load(re.sub(r"(?m)^  # ( *\w+:)", r"  \1", TEXT))
OFFERED = {name: source for name, source in WHOLE["sources"].items() if name not in yaml.safe_load(TEXT)["sources"]}


def texts(seed: int, count: int = 20) -> list[str]:
    """Pages that the recipe of web pages keeps."""
    r = Random(seed)
    words = re.findall("..", "茶叶山泉商队道路工匠陶器春天村庄河流机器孩子老师市场邻居花园")
    sentences = [
        f"{r.choice(words)}边的{r.choice(words)}，是{r.choice(words)}里第{r.randint(1, 999)}个{r.choice(words)}，"
        f"人们在那里谈论{r.choice(words)}和{r.choice(words)}。"
        for _ in range(count * 12)
    ]
    return ["\n".join(sentences[i * 12 : i * 12 + 12]) for i in range(count)]


def test_every_source_names_a_corpus_a_recipe_and_options_that_are_there() -> None:
    assert set(OFFERED) == set(FILES)
    assert set(vars(PUBLISHED)) | {"wudao"} <= {source["corpus"] for source in WHOLE["sources"].values()}
    for source in WHOLE["sources"].values():
        corpus = find_corpus(source["corpus"])
        assert set(source.get("options", {})) <= {option.name for option in corpus.options}
        assert "recipe" not in source or (ROOT / source["recipe"]).is_file()
        assert source["licence"]


@pytest.mark.parametrize("name", sorted(OFFERED))
def test_a_source_is_found_and_converted_where_it_is_published(name: str, tmp_path: Path) -> None:
    source, said = OFFERED[name], texts(1, 3)
    write_sample(tmp_path, name, source["corpus"], said)
    options = {option: str(value) for option, value in source.get("options", {}).items()}
    done = convert_corpus(source["corpus"], [tmp_path / source["input"]], tmp_path / "out.jsonl", options=options)
    assert (done.manifest.documents, done.rejected, done.manifest.passed_over) == (3, 0, ())


@pytest.mark.slow
def test_all_of_them_become_one_mixture(tmp_path: Path) -> None:
    for seed, (name, source) in enumerate(OFFERED.items()):
        write_sample(tmp_path / "corpora", name, source["corpus"], texts(seed))
    config = tmp_path / "data.yaml"
    config.write_text(yaml.safe_dump({**WHOLE, "sources": OFFERED}, allow_unicode=True), encoding="utf-8")
    variables = {
        "CORPORA": str(tmp_path / "corpora"),
        "WORK": str(tmp_path / "work"),
        "CONFIG": str(config),
        "TOKENIZER": str(small_tokenizer(tmp_path)),
        "WORKERS": "2",
        "SMOKE": "1",
        "HF_HUB_OFFLINE": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    script = ["bash", str(FOLDER / "prepare_data.sh")]
    done = subprocess.run(script, env={**os.environ, **variables}, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    card = (tmp_path / "work" / "card" / "DATA_CARD.md").read_text(encoding="utf-8")
    assert all(f"| {name} |" in card for name in OFFERED)
    assert len(list((tmp_path / "work" / "data").glob("*.bin"))) == len(OFFERED)
