"""BELLE: instructions (0.5M to 2M, school math), conversations (3.5M) and dialogues within instructions (multiturn)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from steel_megatron.corpus.chat.conversation import CHAT_REASONS, CHAT_TEMPLATE, Turn, chat, prepare_chat
from steel_megatron.corpus.chat.marked_text import Text
from steel_megatron.corpus.corpus import Corpus, Options, RejectedRecordError, optional_string, string

_SPEAKER = re.compile(r"^[ \t]*(Human|Assistant)[:：][ \t]*", re.MULTILINE)


def text_of(record: Mapping[str, Any], options: Options) -> Text:
    if "conversations" in record:
        return chat(_conversation(record["conversations"]), options)
    instruction, output = string(record, "instruction"), string(record, "output")
    if re.match(r"\s*Human[:：]", instruction):
        return chat([*_dialogue(instruction), ("assistant", output)], options)
    question = "\n".join(filter(None, [instruction.strip(), optional_string(record, "input").strip()]))
    return chat([("user", question), ("assistant", output)], options)


def _conversation(turns: Any) -> list[Turn]:
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise RejectedRecordError("no_turns", f"conversations is {type(turns).__name__}")
    return [(string(turn, "from"), string(turn, "value")) for turn in turns]


def _dialogue(instruction: str) -> list[Turn]:
    """The turns so far; the last mark, which waits for the output, is none."""
    _, *pieces = _SPEAKER.split(instruction)
    turns = list(zip(pieces[::2], pieces[1::2], strict=True))
    return turns[:-1] if turns[-1][0] == "Assistant" and not turns[-1][1].strip() else turns


def identity_of(record: Mapping[str, Any], options: Options) -> str | None:
    value = record.get("id")
    return value if isinstance(value, str) and value and "conversations" in record else None


CORPUS = Corpus(
    name="belle",
    about="BELLE, Chinese instructions and conversations, in its three shapes",
    fields={
        "instruction, input, output": "of one turn; or instruction is the dialogue so far (Human: … Assistant: …)",
        "conversations": "turns of from (human, assistant) and value",
        "id": "its name, where it has one",
    },
    template="chat template; instruction and input are one question",
    example={
        "id": "10000002",
        "conversations": [
            {"from": "human", "value": "什么是递归？"},
            {"from": "assistant", "value": "函数调用自身。\n"},
        ],
    },
    text=text_of,
    identity=identity_of,
    options=(CHAT_TEMPLATE,),
    prepare=prepare_chat,
    reasons=CHAT_REASONS,
)
