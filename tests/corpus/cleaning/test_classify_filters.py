"""Operations that score by classifiers: what they keep, what they refuse, and that other files make other steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.classified_texts import prose_and_code, write_records
from steel_megatron.config import ConfigError
from steel_megatron.corpus.classify import TrainSettings, score, train_classifier
from steel_megatron.corpus.classify.language_model import NgramSettings, train_ngrams
from steel_megatron.corpus.classify.model import Features
from steel_megatron.corpus.cleaning import clean, read_recipe
from steel_megatron.corpus.cleaning.calibrate import calibrate
from steel_megatron.corpus.cleaning.operation import FILES
from steel_megatron.corpus.cleaning.recipe import build_steps

TEXTS = {
    "zh-Hans": "这个软件的设置可以在文件菜单里更改，也可以从命令行传入。",
    "zh-Hant": "這個軟體的設定可以在檔案選單裡更改，也可以從命令列傳入。",
    "yue": "佢哋琴日去咗邊度食飯呀？我都唔知喎，你問下佢啦。",
    "ja": "この設定はメニューから変更できますが、再起動が必要です。",
    "ko": "이 설정은 메뉴에서 바꿀 수 있으며 다시 시작해야 합니다.",
    "en": "These settings can be changed from the menu, or given on the command line.",
    "de": "Diese Einstellungen können im Menü geändert oder auf der Befehlszeile angegeben werden.",
    "fr": "Ces réglages peuvent être modifiés dans le menu ou donnés en ligne de commande.",
    "ru": "Эти настройки можно изменить в меню или задать в командной строке.",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    prose, code = prose_and_code()
    given = {name: [str(write_records(folder / f"{name}.jsonl", texts))] for name, texts in (("a", code), ("b", prose))}
    for name, seed in (("one", 1), ("two", 2)):
        train_classifier(given, folder / f"{name}.classifier", TrainSettings(Features(bits=12), epochs=2, seed=seed))
    return folder


def recipe(folder: Path, *steps: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({"process": list(steps)}), encoding="utf-8")
    return path


def test_a_recipe_keeps_what_steel_classify_score_keeps(world: Path, tmp_path: Path) -> None:
    models = [str(world / "one.classifier"), str(world / "two.classifier")]
    inputs = [str(world / "a.jsonl"), str(world / "b.jsonl")]
    score(models, inputs, tmp_path / "scored.jsonl")
    scored = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_bytes().splitlines()]
    ranks = str(tmp_path / "scored.jsonl.ranks.json")
    step = {"quality_score_filter": {"models": models, "ranks": ranks, "min_score": 0.7}}
    report = clean(read_recipe(str(recipe(tmp_path, step))), inputs, tmp_path / "clean.jsonl").report
    assert report["documents"] == sum(record["quality_rank"] >= 0.7 for record in scored)
    assert report["reasons"] == {"quality_score_filter": {"quality below 0.7": report["dropped"]}}


def test_one_model_gives_its_probability(world: Path, tmp_path: Path) -> None:
    step = {"quality_score_filter": {"models": str(world / "one.classifier"), "min_score": 0.5}}
    report = clean(read_recipe(str(recipe(tmp_path, step))), [world / "b.jsonl"], tmp_path / "b.jsonl").report
    assert report["documents"] > 0.9 * report["records"]
    report = clean(read_recipe(str(recipe(tmp_path, step))), [world / "a.jsonl"], tmp_path / "a.jsonl").report
    assert report["documents"] < 0.1 * report["records"]


def test_what_no_language_model_expects_is_dropped(world: Path, tmp_path: Path) -> None:
    model = str(tmp_path / "prose.ngram")
    train_ngrams([world / "b.jsonl"], model, NgramSettings(order=4))
    step = {"ngram_perplexity_filter": {"model": model, "max_ppl": 8}}
    recipe_ = read_recipe(str(recipe(tmp_path, step)))
    prose = clean(recipe_, [world / "b.jsonl"], tmp_path / "b.jsonl").report
    code = clean(recipe_, [world / "a.jsonl"], tmp_path / "a.jsonl").report
    assert prose["documents"] > 0.9 * prose["records"]
    assert code["documents"] < 0.5 * code["records"]
    assert code["reasons"] == {"ngram_perplexity_filter": {"ngram_perplexity above 8": code["dropped"]}}


@pytest.mark.parametrize("language", TEXTS)
def test_the_shipped_classifier_knows_languages(language: str) -> None:
    (filter_,) = build_steps([("language_filter", {"lang": [language], "min_score": 0.5})])
    judged = {name: filter_.judge(filter_text(text)) for name, text in TEXTS.items()}
    assert {name for name, judgement in judged.items() if not judgement.why} == {language}
    other = next(judgement for name, judgement in judged.items() if name != language)
    assert other.reason == f"language not {language}"


def filter_text(text: str):
    from steel_megatron._text import Text

    return Text(text)


def test_limits_are_calibrated_on_a_sample(world: Path, tmp_path: Path) -> None:
    model = str(tmp_path / "prose.ngram")
    train_ngrams([world / "b.jsonl"], model, NgramSettings(order=3))
    steps = (
        {"language_filter": {"lang": ["en"], "min_score": 0.1}},
        {"quality_score_filter": {"models": str(world / "one.classifier"), "min_score": 0.5}},
        {"ngram_perplexity_filter": {"model": model, "max_ppl": 8}},
    )
    found = calibrate(read_recipe(str(recipe(tmp_path, *steps))), [str(world / "b.jsonl")], records=50, keep=0.9)
    assert [each.statistic for each in found.measured] == ["language_score", "quality", "ngram_perplexity"]
    (tmp_path / "proposed.yaml").write_text(found.yaml(), encoding="utf-8")
    assert FILES not in found.yaml()
    proposed = read_recipe(str(tmp_path / "proposed.yaml"))
    assert [name for name, _ in proposed.steps] == [name for step in steps for name in step]
    assert all(FILES in parameters for _, parameters in proposed.steps)


def test_another_file_of_the_same_name_is_another_recipe(world: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.classifier"
    path.write_bytes((world / "one.classifier").read_bytes())
    step = {"quality_score_filter": {"models": str(path)}}
    first = read_recipe(str(recipe(tmp_path, step))).steps
    path.write_bytes((world / "two.classifier").read_bytes())
    second = read_recipe(str(recipe(tmp_path, step))).steps
    assert first[0][1][FILES] != second[0][1][FILES]
    assert read_recipe(str(recipe(tmp_path, "language_filter"))).steps[0][1][FILES]
    assert FILES not in read_recipe(str(recipe(tmp_path, "text_length_filter"))).steps[0][1]


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (("quality_score_filter", {}), "no models"),
        (("quality_score_filter", {"models": "gone.classifier"}), "No such file"),
        (("quality_score_filter", {"models": ["one", "two"]}), "2 models without ranks"),
        (("quality_score_filter", {"models": "one", "ranks": "gone.json"}), "No such file"),
        (("quality_score_filter", {"models": "LANGUAGE"}), "labels apart"),
        (("language_filter", {"lang": ["zh"]}), "language knows"),
        (("ngram_perplexity_filter", {}), "no model"),
        (("ngram_perplexity_filter", {"model": "gone.ngram"}), "No such file"),
    ],
)
def test_what_cannot_work_is_told_before_any_document(world: Path, step: tuple[str, dict], error: str) -> None:
    from steel_megatron.corpus.classify.language import LANGUAGE_MODEL

    name, parameters = step
    places = {
        "one": str(world / "one.classifier"),
        "two": str(world / "two.classifier"),
        "LANGUAGE": str(LANGUAGE_MODEL),
    }
    for key, value in parameters.items():
        if key == "models":
            given = [places.get(each, each) for each in ([value] if isinstance(value, str) else value)]
            parameters = {**parameters, key: given}
    with pytest.raises(ConfigError, match=error):
        build_steps([(name, parameters)])
