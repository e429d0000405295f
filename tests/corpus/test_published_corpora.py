"""Each trap of the published corpora, with records in their schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.corpus_files import read_json_lines, write_json_lines, write_parquet
from steel_megatron.corpus import RejectedRecordError, all_corpora, convert_corpus, find_corpus
from steel_megatron.corpus.chat.marked_text import Text
from steel_megatron.corpus.normalize import normalize

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"


def converted(name: str, record: dict[str, Any], **options: str) -> str | Text:
    corpus = find_corpus(name)
    defaults = {option.name: option.default for option in corpus.options}
    return normalize(corpus.text(record, defaults | options))


def plain(name: str, record: dict[str, Any], **options: str) -> str:
    text = converted(name, record, **options)
    return text.text if isinstance(text, Text) else text


def reason(name: str, record: dict[str, Any], **options: str) -> str:
    with pytest.raises(RejectedRecordError) as caught:
        converted(name, record, **options)
    assert caught.value.reason in find_corpus(name).reasons or caught.value.reason in {"empty", "not_a_string"}
    return caught.value.reason


def chatml(*turns: str) -> str:
    roles = ["user", "assistant"] * len(turns)
    said = zip(roles, turns, strict=False)
    return SYSTEM + "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in said)


@pytest.mark.parametrize("name", all_corpora())
def test_every_corpus_shows_a_record_that_gives_a_text(name: str) -> None:
    corpus = find_corpus(name)
    assert corpus.template
    assert corpus.example
    assert plain(name, dict(corpus.example))


def test_an_exam_has_lettered_options_answer_and_explanation() -> None:
    record = {
        "q_main": "下列属于纯净物的是（ ）",
        "option_a": "空气",
        "option_b": "",
        "option_c": "蒸馏水",
        "option_d": None,
        "option_e": 3,
        "std_ans": "C",
        "answer_detail": "蒸馏水只由水分子构成。",
    }
    expected = "下列属于纯净物的是（ ）\nA. 空气\nC. 蒸馏水\nE. 3\n答案：C\n解析：蒸馏水只由水分子构成。"
    assert plain("wanjuan", record) == expected
    assert plain("wanjuan", {"q_main": "一加一？", "answer": "二"}) == "一加一？\n答案：二"
    assert reason("wanjuan", {"q_main": "一加一？", "option_a": "二"}) == "no_answer"
    assert plain("wanjuan", {"id": "x", "content": "# 标题：甲，乙！\n正文"}) == "# 标题：甲，乙！\n正文"


def test_a_baike_entry_without_summary_is_kept() -> None:
    sections = [
        {"title": "位置[1]", "content": "位于老城区[12]，长三百米。[2-3] [4,5]"},
        {"title": "空", "content": ""},
    ]
    record = {"title": "石板街", "summary": None, "sections": sections, "tags": [], "url": "u"}
    assert plain("baidu_baike", record) == "石板街\n位置\n位于老城区，长三百米。"
    assert plain("baidu_baike", record | {"summary": "一条街。"}) == "石板街\n一条街。\n位置\n位于老城区，长三百米。"
    assert plain("baidu_baike", {"title": "轴承", "summary": "元件。", "sections": []}) == "轴承\n元件。"
    assert plain("baidu_baike", {"title": "C", "summary": "数组 a[0] 与 [甲]"}) == "C\n数组 a[0] 与 [甲]"
    assert reason("baidu_baike", {"title": "空", "summary": None, "sections": None}) == "no_body"
    assert reason("baidu_baike", {"title": "坏", "sections": ["x"]}) == "bad_sections"


def test_the_description_of_a_question_is_kept_where_it_says_more() -> None:
    record = {"qid": "q", "title": "怎么办 ", "desc": "家里有老人，怎么办？", "answer": "1.通风；\r\n2.检测。"}
    assert plain("baike_qa", record) == "怎么办\n家里有老人，怎么办？\n1.通风；\n2.检测。"
    assert plain("baike_qa", record | {"desc": "怎么办"}) == "怎么办\n1.通风；\n2.检测。"
    assert plain("baike_qa", record | {"desc": None}) == "怎么办\n1.通风；\n2.检测。"
    assert reason("baike_qa", record | {"answer": " \r\n"}) == "no_answer"


@pytest.mark.parametrize(
    ("upvotes", "kept"),
    [
        ("赞同 4432", True),
        ("赞同 1.5 万", True),
        ("赞同 1.5万", True),
        ("赞同 100", True),
        ("赞同 99", False),
        ("赞同", False),
    ],
)
def test_the_most_upvoted_answers_are_kept(upvotes: str, kept: bool) -> None:
    metadata = json.dumps({"answer_id": 2.0, "upvotes": upvotes}, ensure_ascii=False)
    record = {"INSTRUCTION": "为什么？", "RESPONSE": "因为。", "SOURCE": "Zhihu", "METADATA": metadata}
    if kept:
        assert plain("zhihu_kol", record) == "为什么？\n因为。"
    else:
        assert reason("zhihu_kol", record) == "few_upvotes"


def test_ten_thousands_are_counted() -> None:
    record = {"INSTRUCTION": "问", "RESPONSE": "答", "METADATA": '{"upvotes": "赞同 1.5 万"}'}
    assert plain("zhihu_kol", record, min_upvotes="15000") == "问\n答"
    assert reason("zhihu_kol", record, min_upvotes="15001") == "few_upvotes"
    for metadata in ("no json", "{}", '{"upvotes": "many"}', '{"upvotes": null}', "[]"):
        assert reason("zhihu_kol", record | {"METADATA": metadata}) == "bad_metadata"


def test_no_conversation_loses_its_head_or_the_end_of_its_answers() -> None:
    turns = [{"from": "human", "value": "What is it?"}, {"from": "assistant", "value": "a medium|<>im_end\n"}] * 2
    assert plain("belle", {"id": "1", "conversations": turns}) == chatml(
        "What is it?", "a medium|<>im_end", "What is it?", "a medium|<>im_end"
    )
    answers = ["end", "dim_", "<|im_end|>", "i\n\nn", "    indented"]
    for answer in answers:
        record = {"conversation": [{"human": "mind|", "assistant": answer}]}
        assert plain("moss", record) == chatml("mind|", answer)


def test_belle_in_its_other_shapes() -> None:
    one = {"instruction": "判断情感", "input": "真周到！", "output": "积极"}
    assert plain("belle", one) == chatml("判断情感\n真周到！", "积极")
    assert plain("belle", one | {"input": ""}) == chatml("判断情感", "积极")
    dialogue = "Human:你好\nAssistant：您好，请讲：\n第一行\nHuman: 讲个笑话\nAssistant:"
    expected = chatml("你好", "您好，请讲：\n第一行", "讲个笑话", "好的。")
    assert plain("belle", {"instruction": dialogue, "input": "", "output": "好的。"}) == expected
    assert plain("belle", {"instruction": "Human:在吗", "output": "在。"}) == chatml("在吗", "在。")


@pytest.mark.parametrize(
    ("roles", "why"),
    [
        (["human", "human", "assistant"], "roles_do_not_alternate"),
        (["assistant", "human"], "roles_do_not_alternate"),
        (["human", "assistant", "human"], "no_answer"),
        (["human", "robot"], "unknown_role"),
        ([], "no_turns"),
        (["system"], "no_turns"),
    ],
)
def test_roles_that_do_not_alternate_are_rejected(roles: list[str], why: str) -> None:
    assert reason("belle", {"conversations": [{"from": role, "value": "x"} for role in roles]}) == why


def test_turns_without_text_are_rejected() -> None:
    assert reason("firefly", {"kind": "NLI", "input": "问", "target": "\ufeff \n"}) == "empty_turn"
    assert reason("moss", {"conversation": "text"}) == "no_turns"


def test_moss_as_first_released() -> None:
    def turn(number: int, tools: str = "None") -> dict[str, str]:
        return {
            "Human": f"<|Human|>: 问{number}<eoh>\n",
            "Inner Thoughts": "<|Inner Thoughts|>: None<eot>\n",
            "Commands": f"<|Commands|>: {tools}<eoc>\n",
            "Tool Responses": "<|Results|>: None<eor>\n",
            "MOSS": f"<|MOSS|>: 答{number}，home<eom>\n",
        }

    chat = {f"turn_{number}": turn(number) for number in (10, *range(1, 10))}
    said = [text for number in range(1, 11) for text in (f"问{number}", f"答{number}，home")]
    assert plain("moss", {"conversation_id": 1, "meta_instruction": "x", "chat": chat}) == chatml(*said)
    assert reason("moss", {"chat": {"turn_1": turn(1, 'Search("x")')}}) == "uses_tools"
    assert reason("moss", {"chat": {}}) == "no_turns"


def test_only_the_templates_own_marks_are_control(tmp_path: Path) -> None:
    path = write_json_lines(
        tmp_path / "in.json",
        [{"kind": "x", "input": "这是<|im_end|>吗\r\n𠮷？e\u0301", "target": "<|im_start|>不是\ufeff。"}],
    )
    [line] = read_json_lines(convert_corpus("firefly", [path], tmp_path / "out.jsonl").output)
    text = line["text"]
    assert text == chatml("这是<|im_end|>吗\n𠮷？é", "<|im_start|>不是。")
    assert [text[start:stop] for start, stop in line["control"]] == ["<|im_start|>", "<|im_end|>"] * 3
    plain_text = "".join(
        text[stop:start]
        for stop, start in zip(
            [0, *(stop for _, stop in line["control"])], [*(start for start, _ in line["control"]), None], strict=True
        )
    )
    assert "这是<|im_end|>吗" in plain_text
    assert "<|im_start|>不是" in plain_text
    page = write_json_lines(tmp_path / "web.jsonl", [{"text": "网页里的 <|im_end|> 只是文字"}])
    [line] = read_json_lines(convert_corpus("skypile", [page], tmp_path / "web_out.jsonl").output)
    assert "control" not in line


def test_columns_may_change_type_between_files(tmp_path: Path) -> None:
    for language, kind in (("cpp", "float64"), ("java", "int64")):
        columns = {"max_stars_count": (kind, [1, None]), "content": ("string", ["\ufeffint x;\n", "int y;\n"])}
        write_parquet(tmp_path / "in" / language / "train.parquet", columns)
    write_parquet(
        tmp_path / "in" / "py" / "t.parquet", {"max_stars_count": ("null", [None]), "content": ("string", ["z\n"])}
    )
    done = convert_corpus("starcoder", [tmp_path / "in"], tmp_path / "out.jsonl")
    assert [line["text"] for line in read_json_lines(done.output)] == ["int x;\n", "int y;\n"] * 2 + ["z\n"]


def test_full_width_punctuation_is_the_same_everywhere() -> None:
    said = "甲，乙：丙！丁？（１２）；"
    records: dict[str, dict[str, Any]] = {
        "skypile": {"text": said},
        "wanjuan": {"content": said},
        "wikipedia_cn": {"completion": said},
        "baidu_baike": {"title": "题", "summary": said},
        "baike_qa": {"title": "题", "answer": said},
        "zhihu_kol": {"INSTRUCTION": "题", "RESPONSE": said, "METADATA": '{"upvotes": "赞同 500"}'},
        "belle": {"instruction": "题", "output": said},
        "moss": {"conversation": [{"human": "题", "assistant": said}]},
        "firefly": {"input": "题", "target": said},
        "starcoder": {"content": said},
        "contributed": {"意见": said},
    }
    for name, record in records.items():
        assert said in plain(name, record)
