"""Language models over characters: probabilities are those of the formula, sum to 1, and come back from the file."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.classified_texts import chinese_and_english, prose_and_code, write_records
from steel_megatron._classify import LanguageModel, LanguageModelTrainer
from steel_megatron.config import ConfigError, DataError
from steel_megatron.corpus.classify.language_model import NgramSettings, read_ngrams, train_ngrams

TEXTS = st.lists(st.text("abc中", min_size=1, max_size=12), min_size=1, max_size=8)


def trained(texts: list[str], order: int, least: int = 1) -> LanguageModelTrainer:
    trainer = LanguageModelTrainer(order, least, 1000)
    trainer.add(texts)
    trainer.finish(lambda: None)
    return trainer


def model_of(trainer: LanguageModelTrainer, order: int) -> LanguageModel:
    return LanguageModel(trainer.characters, order, trainer.unseen, 1000, trainer.slots)


def padded(text: str, order: int) -> str:
    return "\n" * order + text + "\n"


def reference(texts: list[str], order: int) -> dict[str, float]:
    """Interpolated modified Kneser-Ney, Chen and Goodman (1999), of all n-grams that are seen: n-gram → probability."""
    counts: dict[int, Counter[str]] = {order: Counter()}
    for text in texts:
        whole = padded(text, order)
        counts[order].update(whole[at : at + order] for at in range(len(whole) - order + 1))
    for n in range(order - 1, 0, -1):
        counts[n] = Counter(gram[1:] for gram in counts[n + 1])
    vocabulary = {character for text in texts for character in text} | {"\n", "unknown"}
    found = {"": 1 / len(vocabulary)}
    for n in range(1, order + 1):
        seen = Counter(min(count, 5) for count in counts[n].values())
        discounts = [0, 0.5, 1.0, 1.5]
        if all(seen[count] for count in (1, 2, 3, 4)):
            y = seen[1] / (seen[1] + 2 * seen[2])
            for count in (1, 2, 3):
                discount = count - (count + 1) * y * seen[count + 1] / seen[count]
                discounts[count] = discount if 0 < discount <= count else discounts[count]
        behind: dict[str, list[int]] = defaultdict(list)
        for gram, count in counts[n].items():
            behind[gram[:-1]].append(count)
        for gram, count in counts[n].items():
            own = behind[gram[:-1]]
            left = max(sum(discounts[min(each, 3)] for each in own) / sum(own), 1e-9)
            found[gram] = (count - discounts[min(count, 3)]) / sum(own) + left * found[gram[1:]]
    return found


@settings(max_examples=60, deadline=None)
@given(TEXTS, st.integers(2, 5))
def test_probabilities_are_those_of_the_formula(texts: list[str], order: int) -> None:
    trainer = trained(texts, order)
    wanted = reference(texts, order)
    names = ["?", "\n", *map(chr, trainer.characters.tolist())]
    for n in range(1, order + 1):
        tokens, logarithms = trainer.grams(n)
        grams = ["".join(names[token] for token in row) for row in tokens.tolist()]
        assert sorted(grams) == sorted(gram for gram in wanted if len(gram) == n)
        for gram, probability in zip(grams, logarithms[:, 0].tolist(), strict=True):
            assert math.exp(probability) == pytest.approx(wanted[gram], rel=1e-4)
    found = model_of(trainer, order).mean_log_probabilities(texts)
    for text, mean in zip(texts, found.tolist(), strict=True):
        whole = padded(text, order)
        logs = [math.log(wanted[whole[at - order + 1 : at + 1]]) for at in range(order, len(whole))]
        assert mean == pytest.approx(np.mean(logs), abs=1e-3)


@settings(max_examples=40, deadline=None)
@given(TEXTS, st.integers(2, 5), st.integers(1, 3), st.text("abc中z", min_size=1, max_size=8))
def test_what_is_left_out_is_given_to_shorter_n_grams(texts: list[str], order: int, least: int, text: str) -> None:
    """Behind any text the probabilities of all characters sum to 1, and a text scores as these say."""
    trainer = trained(texts, order, least)
    names = ["?", "\n", *map(chr, trainer.characters.tolist())]
    kept: dict[str, tuple[float, float]] = {}
    for n in range(1, order + 1):
        tokens, logarithms = trainer.grams(n)
        for row, pair in zip(tokens.tolist(), logarithms.tolist(), strict=True):
            kept["".join(names[token] for token in row)] = (pair[0], pair[1])

    def log_of(gram: str) -> float:
        if gram in kept:
            return kept[gram][0]
        return trainer.unseen if len(gram) == 1 else log_of(gram[1:]) + kept.get(gram[:-1], (0.0, 0.0))[1]

    seen = "".join(character if character in names else "?" for character in padded(text, order))
    for at in range(order, len(seen)):
        behind = seen[at - order + 1 : at]
        assert sum(math.exp(log_of(behind + name)) for name in names) == pytest.approx(1, abs=1e-4)
    wanted = np.mean([log_of(seen[at - order + 1 : at + 1]) for at in range(order, len(seen))])
    assert model_of(trainer, order).mean_log_probabilities([text])[0] == pytest.approx(wanted, abs=2e-3)
    assert all(gram[:-1] in kept and gram[1:] in kept for gram in kept if len(gram) > 1)


@pytest.fixture(scope="module")
def prose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    chinese, english = chinese_and_english()
    return write_records(tmp_path_factory.mktemp("texts") / "prose.jsonl", chinese + english)


def test_prose_is_likelier_than_code_and_than_itself_shuffled(prose: Path, tmp_path: Path) -> None:
    model, before = train_ngrams([prose], tmp_path / "x.ngram")
    texts, code = prose_and_code()
    assert not before
    assert model.header["trained"]["held_out"]["texts"] > 3
    shuffled = ["".join(sorted(text)) for text in texts]
    middle = [float(np.median(model.perplexities(kind))) for kind in (texts, code, shuffled)]
    assert middle[0] < 0.7 * middle[1] < middle[2]


def test_a_file_gives_back_the_model_and_a_damaged_one_is_refused(prose: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.ngram"
    model, _ = train_ngrams([prose], path, NgramSettings(order=3))
    again, before = train_ngrams([prose], path, NgramSettings(order=3))
    texts = ["一段文字。", "Some words.", "", "\U0001f600"]
    assert before
    assert np.array_equal(again.perplexities(texts), model.perplexities(texts))
    with pytest.raises(DataError, match="is not of these texts and settings"):
        train_ngrams([prose], path, NgramSettings(order=4))
    content = bytearray(path.read_bytes())
    for at in (30, len(content) // 2, -1):
        damaged = content.copy()
        damaged[at] ^= 4
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(DataError, match="is damaged"):
            read_ngrams(tmp_path / "damaged")
    (tmp_path / "cut").write_bytes(content[:-100])
    with pytest.raises(DataError, match="is damaged"):
        read_ngrams(tmp_path / "cut")
    (tmp_path / "other").write_bytes(b"STEELCLF")
    with pytest.raises(ConfigError, match="is no language model"):
        read_ngrams(tmp_path / "other")
    with pytest.raises(ConfigError, match="No such file"):
        read_ngrams(tmp_path / "gone")


def test_the_same_texts_give_the_same_file(prose: Path, tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        train_ngrams([prose], tmp_path / name / "x.ngram", NgramSettings(order=3), arpa=tmp_path / name / "x.arpa")
        files.append([(tmp_path / name / f"x.{kind}").read_bytes() for kind in ("ngram", "arpa")])
    assert files[0] == files[1]


def test_the_arpa_file_holds_what_it_says(prose: Path, tmp_path: Path) -> None:
    model, _ = train_ngrams([prose], tmp_path / "x.ngram", NgramSettings(order=3), arpa=tmp_path / "x.arpa")
    lines = (tmp_path / "x.arpa").read_text("utf-8").split("\n")
    counts = [int(line.split("=")[1]) for line in lines if line.startswith("ngram ")]
    assert counts == [model.header["ngrams"][0] + 3, *model.header["ngrams"][1:]]
    assert len([line for line in lines if line.count("\t")]) == sum(counts)
    for line in lines:
        probability, tab, rest = line.partition("\t")
        assert not tab or (float(probability) <= 0 and len(rest.split("\t")[0].split(" ")) in (1, 2, 3))


def test_no_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"content": "x"}\n')
    with pytest.raises(DataError, match="no text in the input"):
        train_ngrams([tmp_path / "x.jsonl"], tmp_path / "x.ngram")
