"""A corpus and a cleaning operation of one's own, in a file that is no part of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.corpus_files import read_json_lines, write_json_lines
from steel_megatron.cli.main import main
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus import convert_corpus, find_corpus
from steel_megatron.corpus.cleaning import clean, read_recipe
from steel_megatron.corpus.cleaning.operation import build_operation

CORPUS = """
from steel_megatron.corpus import Corpus, Option, RejectedRecordError
from steel_megatron.corpus.corpus import string

def text_of(record, options):
    if record.get("lang") != options["language"]:
        raise RejectedRecordError("other_language", str(record.get("lang")))
    return string(record, "title") + "\\n" + string(record, "body")

CORPUS = Corpus(
    name="news",
    about="news, by language",
    fields={"title, body": "the text", "lang": "its language"},
    text=text_of,
    options=(Option("language", "en", "the language that is kept"),),
    reasons={"other_language": "it is in another language"},
)
"""

OPERATION = '''
from dataclasses import dataclass
from steel_megatron.corpus.cleaning import Filter, Mapper
from steel_megatron.corpus.cleaning.operation import register

@register("shouting_filter")
@dataclass(kw_only=True)
class Shouting(Filter):
    """Share of capitals."""

    statistic = "capitals"
    max_ratio: float = 0.5

    def limits(self):
        return None, self.max_ratio

    def measure(self, text):
        return sum(map(str.isupper, str(text))) / max(len(text), 1)

@dataclass(kw_only=True)
class Trim(Mapper):
    """Takes off white space."""

    def apply(self, text):
        text.set(str(text).strip())
'''


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "news.py").write_text(CORPUS)
    (tmp_path / "mine.py").write_text(OPERATION)
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_a_corpus_in_a_file_is_converted(outside: Path, workers: int, capsys: pytest.CaptureFixture[str]) -> None:
    records = [{"title": f"第{n}条", "body": "正文。", "lang": "zh" if n % 3 else "fr"} for n in range(60)]
    write_json_lines(outside / "in.jsonl", records)
    given = [*("--corpus", f"{outside}/news.py:CORPUS"), *("--input", f"{outside}/in.jsonl")]
    command = ["convert", *given, "--output", f"{outside}/out.jsonl", "--option", "language=zh"]
    assert main([*command, "--workers", str(workers)]) == 0
    documents = read_json_lines(outside / "out.jsonl")
    assert len(documents) == 40
    assert documents[0]["text"] == "第1条\n正文。"
    assert documents[0]["source"] == "news"
    assert "it is in another language" in capsys.readouterr().out
    assert main(command) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main([*command[:-1], "tongue=zh"]) == 2
    assert main([*command[:-1], "zh"]) == 2
    capsys.readouterr()
    (outside / "news.py").write_text(CORPUS.replace('"\\n"', '" "'))
    corpus = f"{outside}/news.py:CORPUS"
    with pytest.raises(DataError, match="is there already"):  # other code gives other data
        convert_corpus(corpus, [outside / "in.jsonl"], outside / "out.jsonl", options={"language": "zh"})
    assert find_corpus(corpus).text(records[1], {"language": "zh"}) == "第1条 正文。"


def test_an_unknown_corpus_is_told_how_to_give_one_of_ones_own() -> None:
    with pytest.raises(ConfigError, match=r"package\.module:Name or path\.py:Name"):
        find_corpus("newspaper")
    with pytest.raises(ConfigError, match="it is a Corpus"):
        find_corpus("math:pi")


@pytest.mark.parametrize("workers", [1, 2])
def test_operations_in_a_file_run_in_a_recipe(outside: Path, workers: int) -> None:
    recipe = outside / "recipe.yaml"
    mine = outside / "mine.py"
    recipe.write_text(f"process:\n  - {mine}:Trim\n  - {mine}:Shouting:\n      max_ratio: 0.25\n")
    write_json_lines(outside / "in.jsonl", [{"text": text} for text in ("  quiet ", "LOUD", "not Very")])
    done = clean(read_recipe(str(recipe)), [outside / "in.jsonl"], outside / "out.jsonl", workers=workers)
    assert [record["text"] for record in read_json_lines(outside / "out.jsonl")] == ["quiet", "not Very"]
    assert done.report["reasons"] == {"shouting_filter": {"capitals above 0.25": 1}}
    assert main(["clean", "--list-drops", f"{outside}/out.jsonl", "--operation", "shouting_filter"]) == 0
    before = read_recipe(str(recipe)).steps
    mine.write_text(OPERATION.replace("strip()", "rstrip()"))
    assert read_recipe(str(recipe)).steps != before


def test_errors_of_operations_from_outside(outside: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean max_ratio"):
        build_operation(f"{outside}/mine.py:Shouting", {"max_rato": 0.1})
    with pytest.raises(ConfigError, match="made from Mapper or Filter"):
        build_operation("math:sqrt", {})
    with pytest.raises(ConfigError, match="did you mean Trim"):
        build_operation(f"{outside}/mine.py:Trimm", {})
    with pytest.raises(ConfigError, match=r"path\.py:Class(.|\n)*data-juicer"):
        build_operation("shouting_filter", {})
