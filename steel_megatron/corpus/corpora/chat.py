"""Any conversations in OpenAI's or ShareGPT's form, calls of tools included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.chat.conversation import CHAT_REASONS, CHAT_TEMPLATE, chat, prepare_chat
from steel_megatron.corpus.chat.marked_text import Text
from steel_megatron.corpus.chat.messages import MESSAGE_REASONS, turns_of
from steel_megatron.corpus.corpus import Corpus, Options, name_field
from steel_megatron.corpus.published import SPLIT, SPLITS


def text_of(record: Mapping[str, Any], options: Options) -> Text:
    return chat(turns_of(record), options)


CORPUS = Corpus(
    name="chat",
    about="any conversations as messages (OpenAI) or conversations (ShareGPT), tools included",
    fields={
        "messages, conversations": "the turns; also as JSON text, or named conversation, dialogue, items",
        "role, from": "of a turn: system, user or human, assistant or gpt, tool, function_call, observation …",
        "content, value": "what is said: text, or parts of type text",
        "tool_calls": "of an answer: name and arguments of each",
        "tools, system": "beside the turns: signatures of tools, the system's words",
        "id": "its name, where it has one",
    },
    template="chat template; tools, their calls and what they give as Qwen and Hermes write them",
    example={
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"city": "string"}}}],
        "messages": [
            {"role": "user", "content": "北京今天冷吗？"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": '{"city": "北京"}'}}],
            },
            {"role": "tool", "content": '{"degrees": -3}'},
            {"role": "assistant", "content": "零下三度，很冷。"},
        ],
    },
    text=text_of,
    identity=name_field("id"),
    options=(CHAT_TEMPLATE, SPLIT),
    splits=SPLITS,
    prepare=prepare_chat,
    reasons={**CHAT_REASONS, **MESSAGE_REASONS},
)
