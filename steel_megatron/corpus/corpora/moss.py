"""moss-003-sft: the re-release as JSON lines, and the original, a JSON file per conversation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.chat.conversation import CHAT_REASONS, CHAT_TEMPLATE, Turn, chat, prepare_chat
from steel_megatron.corpus.chat.marked_text import Text
from steel_megatron.corpus.corpus import Corpus, Options, RejectedRecordError, string

_OPEN = re.compile(r"\s*<\|(?:Human|MOSS|Inner Thoughts|Commands|Results)\|>:[ \t]?")
_CLOSE = re.compile(r"\s*<eo[hmtcr]>\s*\Z")
_TOOLS = ("Commands", "Tool Responses")


def text_of(record: Mapping[str, Any], options: Options) -> Text:
    return chat(_original(record["chat"]) if "chat" in record else _re_release(record), options)


def _re_release(record: Mapping[str, Any]) -> list[Turn]:
    turns = record.get("conversation")
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise RejectedRecordError("no_turns", f"conversation is {type(turns).__name__}")
    return [
        (role, string(turn, name)) for turn in turns for role, name in (("user", "human"), ("assistant", "assistant"))
    ]


def _original(chat_of: Any) -> list[Turn]:
    """The turns in the order of their numbers (turn_10 comes after turn_9), without the marks around them."""
    if not isinstance(chat_of, Mapping):
        raise RejectedRecordError("no_turns", f"chat is {type(chat_of).__name__}")
    numbered = {int(name[5:]): turn for name, turn in chat_of.items() if re.fullmatch(r"turn_\d+", name)}
    turns: list[Turn] = []
    for number, turn in sorted(numbered.items()):
        if not isinstance(turn, Mapping):
            raise RejectedRecordError("no_turns", f"turn_{number} is {type(turn).__name__}")
        if any(_plain(turn, name) not in ("", "None") for name in _TOOLS if name in turn):
            raise RejectedRecordError("uses_tools", f"turn_{number}")
        turns += [("user", _plain(turn, "Human")), ("assistant", _plain(turn, "MOSS"))]
    return turns


def _plain(turn: Mapping[str, Any], name: str) -> str:
    return _CLOSE.sub("", _OPEN.sub("", string(turn, name), count=1))


CORPUS = Corpus(
    name="moss",
    about="moss-003-sft, conversations, as re-released and in the original files",
    fields={
        "conversation": "turns of human and assistant",
        "chat": "of the original: turn_1, turn_2 … with Human, MOSS, Commands, Tool Responses",
    },
    template="chat template; marks such as <|Human|>: and <eoh> go, and so do inner thoughts and the meta instruction",
    example={
        "conversation_id": 1,
        "category": "Brainstorming",
        "conversation": [{"human": "怎样提高阅读效率？", "assistant": "先看目录，\n\n再边读边做笔记。"}],
    },
    text=text_of,
    options=(CHAT_TEMPLATE,),
    prepare=prepare_chat,
    reasons={**CHAT_REASONS, "uses_tools": "answers that rest on commands to tools, which are no part of the text"},
)
