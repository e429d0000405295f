"""firefly-train-1.1M: instructions of 23 kinds as JSON lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.chat.conversation import CHAT_REASONS, CHAT_TEMPLATE, chat, prepare_chat
from steel_megatron.corpus.chat.marked_text import Text
from steel_megatron.corpus.corpus import Corpus, Options, string


def text_of(record: Mapping[str, Any], options: Options) -> Text:
    return chat([("user", string(record, "input")), ("assistant", string(record, "target"))], options)


CORPUS = Corpus(
    name="firefly",
    about="firefly-train-1.1M, Chinese instructions of 23 kinds",
    fields={"input": "the question", "target": "the answer"},
    template="chat template",
    example={"kind": "NLI", "input": "前提：小店门口排起了长队\n假设：小店没有顾客", "target": "矛盾"},
    text=text_of,
    options=(CHAT_TEMPLATE,),
    prepare=prepare_chat,
    reasons=CHAT_REASONS,
)
