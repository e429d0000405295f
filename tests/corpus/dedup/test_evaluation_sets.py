"""Documents that hold questions of evaluation sets are found, whichever layout the set has."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from helpers.dedup_runs import fallen, kept_ids, run_dedup
from steel_megatron.config import DataError
from steel_megatron.corpus.dedup import SourceInput

QUESTION = "在一个封闭系统中，气体由状态甲沿等温过程膨胀到状态乙，则该过程中气体吸收的热量与对外所做的功之间的关系是"
CHOICES = ["吸收的热量大于对外做的功", "吸收的热量等于对外做的功", "吸收的热量小于对外做的功", "两者之间没有确定的关系"]
ENGLISH = "Which of the following best describes the structure that collects urine in the body of a frog in spring?"
ENGLISH_CHOICES = ["Bladder", "Kidney", "Ureter", "Urethra"]
FILLER = "这里是网页上另外的一些话，和考试没有关系，只是为了让文章长一些。"


def write_set(folder: Path, layout: str) -> Path:
    path = folder / f"{layout}.{'jsonl' if layout == 'jsonl' else 'csv'}"
    heads = {"ceval": ["id", "question", "A", "B", "C", "D", "answer", "explanation"]}
    heads["cmmlu"] = ["", "Question", "A", "B", "C", "D", "Answer"]
    with open(path, "w", encoding="utf-8-sig" if layout == "ceval" else "utf-8", newline="") as file:
        rows = csv.writer(file)
        if layout in heads:
            rows.writerow(heads[layout])
            rows.writerow([0, QUESTION, *CHOICES, "B", *(["由热力学第一定律"] if layout == "ceval" else [])])
            rows.writerow([1, "短题", "甲", "乙", "丙", "丁", "A", *([""] if layout == "ceval" else [])])
        elif layout == "mmlu":
            rows.writerow([ENGLISH, *ENGLISH_CHOICES, "A"])
        else:
            file.write(json.dumps({"question": QUESTION, "choices": CHOICES, "answer": 1}) + "\n\n")
            file.write(json.dumps({"text": ENGLISH}) + "\n")
    return path


def search(folder: Path, layout: str, texts: list[str], **options: Any) -> Any:
    sets = [SourceInput(layout, str(write_set(folder, layout)))]
    return run_dedup(folder, {"s": texts}, evaluation_sets=sets, **options)


@pytest.mark.parametrize("layout", ["ceval", "cmmlu", "jsonl"])
def test_a_question_is_found_in_a_document(tmp_path: Path, layout: str) -> None:
    lettered = "\n".join(f"{letter}、{choice}" for letter, choice in zip("ABCD", CHOICES, strict=True))
    texts = [
        FILLER,
        f"{FILLER}\n1. {QUESTION}\n{FILLER}",
        f"{QUESTION}\n{lettered}\n答案：B",
        QUESTION[: len(QUESTION) // 2] + FILLER,
        QUESTION.replace("，", ", ").replace("热量", "热能"),
    ]
    done = search(tmp_path, layout, texts)
    entries = fallen(done)
    assert list(entries) == ["s/1", "s/2", "s/4"]
    assert {entry["reason"] for entry in entries.values()} == {"contaminated"}
    assert entries["s/1"]["share"] == 1.0 > entries["s/4"]["share"] >= 0.7
    assert entries["s/1"]["item"].startswith(f"{layout}.")
    expected = {"questions": 2, "too_short": 0 if layout == "jsonl" else 1, "documents": 3}
    assert done.report["evaluation_sets"] == {layout: expected}
    assert done.report["sources"]["s"]["contaminated"] == 3


def test_mmlu_has_no_head(tmp_path: Path) -> None:
    done = search(
        tmp_path, "mmlu", [f"Quiz. {ENGLISH.upper()} Answer: bladder", "A frog sits in the garden in spring."]
    )
    assert kept_ids(done) == ["s/1"]
    assert fallen(done)["s/0"]["set"] == "mmlu"


def test_a_contaminated_document_is_not_the_one_that_is_kept(tmp_path: Path) -> None:
    body = "".join(f"第{number}段，{FILLER}" for number in "一二三四五六七八九十")
    done = search(tmp_path, "ceval", [f"{body}\n{QUESTION}", body, f"{body}\n{QUESTION}"])
    assert kept_ids(done) == ["s/1"]


def test_the_wording_of_many_questions_is_no_contamination(tmp_path: Path) -> None:
    wording = "下列各句中没有语病并且句意明确的一句是哪一句"
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps({"question": f"{wording}{n}", "id": n}) + "\n" for n in range(100)))
    sets = [SourceInput("set", str(path))]
    done = run_dedup(tmp_path, {"s": [f"练习：{wording}？甲乙丙丁"]}, evaluation_sets=sets)
    assert kept_ids(done) == ["s/0"]
    assert done.report["evaluation_sets"]["set"]["too_short"] == 100


def test_a_set_of_no_layout_stops_the_run_before_it_starts(tmp_path: Path) -> None:
    for name, content in {"x.csv": "a,b\n1,2\n", "x.jsonl": '{"frage": "x"}\n'}.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=r"x\.(csv|jsonl), line"):
            run_dedup(tmp_path, {"s": ["x"]}, evaluation_sets=[SourceInput("x", str(tmp_path / name))])
        assert not (tmp_path / "out").exists()
