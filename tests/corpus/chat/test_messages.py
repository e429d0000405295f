"""Conversations in OpenAI's and ShareGPT's form: roles, parts, system turns, tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2
import pytest

from steel_megatron.corpus import RejectedRecordError, find_corpus
from steel_megatron.corpus.chat.conversation import SYSTEM
from steel_megatron.corpus.chat.messages import MESSAGE_REASONS, turns_of

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "北京"}}\n</tool_call>'

# The tool part of Qwen2.5's template, for comparison: the same conversation has to come out of both.
QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] }}{%- else %}{{- default_system }}{%- endif %}
    {{- "\\n\\n# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou are provided with function signatures within <tools></tools> XML tags:\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- "\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": <args-json-object>}\\n</tool_call><|im_end|>\\n" }}
{%- else %}
    {{- '<|im_start|>system\\n' + (messages[0]['content'] if messages[0]['role'] == 'system' else default_system) + '<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
        {%- for call in message.tool_calls %}
            {{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' + (call.function.arguments | tojson) + '}\\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if messages[loop.index0 - 1].role != "tool" %}{{- '<|im_start|>user' }}{%- endif %}
        {{- '\\n<tool_response>\\n' + message.content + '\\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != "tool" %}{{- '<|im_end|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}"""  # noqa: E501 - as it is published


def qwen(record: dict[str, Any]) -> str:
    environment = jinja2.Environment()
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(QWEN).render(default_system=SYSTEM, **record)


def text_of(record: dict[str, Any]) -> str:
    return find_corpus("chat").text(record, {"chat_template": "chatml"}).text


def reason_of(record: dict[str, Any]) -> str:
    with pytest.raises(RejectedRecordError) as caught:
        text_of(record)
    assert caught.value.reason in find_corpus("chat").reasons
    return caught.value.reason


def call(**arguments: str) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}


@pytest.mark.parametrize("tools", [[TOOL, TOOL], None])
@pytest.mark.parametrize("system", [[], [{"role": "system", "content": "你是气象员。"}]])
def test_what_is_written_is_what_qwen_writes(tools: Any, system: list[dict[str, str]]) -> None:
    messages = [
        *system,
        {"role": "user", "content": "北京和上海冷吗？"},
        {"role": "assistant", "content": "我查一下。", "tool_calls": [call(city="北京"), call(city="上海")]},
        {"role": "tool", "content": '{"degrees": -3}'},
        {"role": "tool", "content": '{"degrees": 9}'},
        {"role": "assistant", "content": "", "tool_calls": [call(city="广州")]},
        {"role": "tool", "content": '{"degrees": 20}'},
        {"role": "assistant", "content": "北京零下三度。"},
        {"role": "user", "content": "谢谢"},
        {"role": "assistant", "content": "不客气。"},
    ]
    record = {"messages": messages} | ({"tools": tools} if tools else {})
    assert text_of(record) == qwen(record)
    as_text = {name: json.dumps(value, ensure_ascii=False) for name, value in record.items()}
    assert text_of(as_text) == qwen(record)


def test_a_tokenizers_own_template_puts_its_marks_around_the_same_words(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(f"{{%- set default_system = '{SYSTEM}' %}}{QWEN}", encoding="utf-8")
    marks = {"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(marks))
    corpus = find_corpus("chat")
    record = dict(corpus.example)
    own, chatml = (corpus.text(record, corpus.prepare({"chat_template": name})) for name in (str(tmp_path), "chatml"))
    assert (own.text, own.control) == (chatml.text, chatml.control)


def test_sharegpt_says_the_same() -> None:
    record = {
        "conversations": [
            {"from": "human", "value": "北京冷吗？"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "北京"}}'},
            {"from": "observation", "value": '{"degrees": -3}'},
            {"from": "gpt", "value": "很冷。"},
        ],
        "system": "你是气象员。",
        "tools": json.dumps([TOOL["function"]]),
    }
    messages = [
        {"role": "system", "content": "你是气象员。"},
        {"role": "user", "content": "北京冷吗？"},
        {"role": "assistant", "content": "", "tool_calls": [call(city="北京")]},
        {"role": "tool", "content": '{"degrees": -3}'},
        {"role": "assistant", "content": "很冷。"},
    ]
    assert text_of(record) == qwen({"messages": messages, "tools": [TOOL]})


def test_hermes_tells_its_tools_in_words_already() -> None:
    turns = [
        {"from": "system", "value": f"You call functions. <tools>{json.dumps(TOOL)}</tools>"},
        {"from": "human", "value": "北京冷吗？"},
        {"from": "gpt", "value": CALL},
        {"from": "tool", "value": '<tool_response>\n{"degrees": -3}\n</tool_response>'},
        {"from": "gpt", "value": "很冷。"},
    ]
    text = text_of({"conversations": turns, "tools": json.dumps([TOOL])})
    assert text.count("<tools>") == text.count("<tool_response>") == text.count("<tool_call>") == 1


def test_a_system_turn_that_says_nothing_is_none() -> None:
    turns = [("human", "甲"), ("gpt", "乙")]
    plain = {"conversations": [{"from": role, "value": text} for role, text in turns]}
    for said in ("", " \n"):
        record = {"conversations": [{"from": "system", "value": said}, *plain["conversations"]]}
        assert text_of(record) == text_of(plain)
        assert text_of(record | {"tools": [TOOL]}) == text_of(plain | {"tools": [TOOL]})
    told = {"conversations": [{"from": "developer", "value": "你是诗人。"}, *plain["conversations"]]}
    assert text_of(told).startswith("<|im_start|>system\n你是诗人。<|im_end|>")


def test_text_comes_in_parts_and_pictures_are_none() -> None:
    parts = [{"type": "text", "text": "甲"}, {"type": "text", "text": "乙"}]
    answer = {"role": "assistant", "content": "丙"}
    assert turns_of({"messages": [{"role": "user", "content": parts}, answer]})[0] == ("user", "甲乙")
    picture = {"role": "user", "content": [*parts, {"type": "image_url", "image_url": {"url": "…"}}]}
    assert reason_of({"messages": [picture, answer]}) == "not_text"


def test_reasoning_stands_before_the_answer() -> None:
    message = {"role": "assistant", "content": "\n四", "reasoning_content": "二加二\n"}
    assert turns_of({"messages": [message]}) == [("assistant", "<think>\n二加二\n</think>\n\n四")]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([("user", "甲"), ("tool", "乙"), ("assistant", "丙")], "roles_do_not_alternate"),
        ([("assistant", "甲"), ("user", "乙"), ("assistant", "丙")], "roles_do_not_alternate"),
        ([("user", "甲"), ("system", "乙"), ("assistant", "丙")], "roles_do_not_alternate"),
        ([("user", "甲"), ("assistant", "乙"), ("tool", "丙")], "no_answer"),
        ([("user", "甲"), ("bing", "乙")], "unknown_role"),
        ([("user", "甲"), ("", "乙")], "unknown_role"),
        ([("user", "甲"), ("assistant", " ")], "empty_turn"),
        ([("user", "甲"), ("function_call", "weather(北京)")], "bad_tool_call"),
        ([("user", "甲"), ("function_call", '{"arguments": {}}')], "bad_tool_call"),
        ([], "no_turns"),
    ],
)
def test_a_conversation_out_of_order_is_refused(turns: list[tuple[str, str]], reason: str) -> None:
    assert reason_of({"conversations": [{"from": role, "value": text} for role, text in turns]}) == reason


def test_a_tool_may_give_nothing() -> None:
    turns = [("user", "删掉它"), ("assistant", CALL), ("tool", ""), ("assistant", "好了。")]
    record = {"messages": [{"role": role, "content": text} for role, text in turns]}
    assert "<tool_response>\n\n</tool_response>" in text_of(record)


@pytest.mark.parametrize("record", [{}, {"messages": "hello"}, {"messages": [["user", "hi"]]}, {"text": "x"}])
def test_a_record_of_another_kind_has_no_turns(record: dict[str, Any]) -> None:
    assert reason_of(record) == "no_turns"


@pytest.mark.parametrize("tools", [{"name": "x"}, "weather", ["weather"]])
def test_tools_are_a_list_of_objects(tools: Any) -> None:
    messages = [{"role": "user", "content": "甲"}, {"role": "assistant", "content": "乙"}]
    assert reason_of({"messages": messages, "tools": tools}) == "bad_tools"
    assert "bad_tools" in MESSAGE_REASONS
