"""The turns of a conversation as ``messages`` (OpenAI) or as ShareGPT's ``conversations``, tools included.

What tools can do, calls of them and what they gave become text as Qwen's and Hermes' models are trained on it:
``<tools>`` in the system turn, ``<tool_call>`` in answers, ``<tool_response>`` in what follows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from steel_megatron.corpus.chat.conversation import SYSTEM, Turn
from steel_megatron.corpus.corpus import RejectedRecordError, optional_string

_LISTS = ("messages", "conversations", "conversation", "dialogue", "items")
_SYSTEM = {"system", "developer"}
_CALLS = {"function_call", "tool_call"}  # ShareGPT's name of a turn that is nothing but a call
_RESPONSE = re.compile(r"\s*<tool_response>\n?(.*?)\n?</tool_response>\s*", re.DOTALL)
MESSAGE_REASONS = {
    "not_text": "a turn holds an image, sound or video",
    "bad_tool_call": "a call of a tool has no name, or is no JSON",
    "bad_tools": "the list of tools is no list of JSON objects",
}


def turns_of(record: Mapping[str, Any]) -> list[Turn]:
    """Role and text of each turn, the system's first where there is one or where there are tools.

    Raises:
        RejectedRecordError: it is no such conversation.
    """
    turns = [_turn(message) for message in _messages(record)]
    if turns and turns[0][0] in _SYSTEM and not turns[0][1].strip():  # many sets write one that says nothing
        turns.pop(0)
    system = optional_string(record, "system").strip()
    if system and (not turns or turns[0][0] not in _SYSTEM):
        turns.insert(0, ("system", system))
    tools = _tools(record)
    if tools:
        given = turns.pop(0)[1] if turns and turns[0][0] in _SYSTEM else SYSTEM
        # Some data sets tell the tools in the system turn already, and once more beside it.
        turns.insert(0, ("system", given if "<tools>" in given else f"{given}\n\n{_TOOLS.format(tools)}"))
    return turns


# The format is a contract: models that know it were trained on these very words.
_TOOLS = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""


def _messages(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    name = next((name for name in _LISTS if record.get(name) is not None), "")
    found = _opened(record.get(name))
    if not isinstance(found, list) or not all(isinstance(message, Mapping) for message in found):
        said = f"{name!r} is {type(found).__name__}" if name else f"none of {', '.join(_LISTS)}"
        raise RejectedRecordError("no_turns", said)
    return found


def _turn(message: Mapping[str, Any]) -> Turn:
    role = str(message.get("role") or message.get("from") or "")
    content = next((message[name] for name in ("content", "value", "text") if message.get(name) is not None), "")
    text = _text(content)
    if role.strip().lower() in _CALLS:
        return "assistant", "\n".join(_calls(text))
    if message.get("reasoning_content"):
        text = f"<think>\n{str(message['reasoning_content']).strip()}\n</think>\n\n{text.strip()}"
    calls = message.get("tool_calls") or message.get("function_call")
    if calls:
        return role, "\n".join([*filter(None, [text.strip()]), *_calls(calls)])
    wrapped = _RESPONSE.fullmatch(text)  # the template wraps it
    return role, wrapped[1] if wrapped and "<tool_response>" not in wrapped[1] else text


def _text(content: Any) -> str:
    """A turn's text; of a list of parts, those of text, which must be all."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise RejectedRecordError("not_text", str(kind))
    return "".join(texts)


def _calls(calls: Any) -> Iterator[str]:
    """Each call as text."""
    found = _opened(calls)
    for call in found if isinstance(found, list) else [found]:
        inner = call.get("function", call) if isinstance(call, Mapping) else None
        if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
            raise RejectedRecordError("bad_tool_call", str(call)[:200])
        arguments = _opened(inner.get("arguments", inner.get("parameters", {})))
        yield f'<tool_call>\n{{"name": {_json(inner["name"])}, "arguments": {_json(arguments)}}}\n</tool_call>'


def _tools(record: Mapping[str, Any]) -> str:
    """The signatures of the tools, one a line."""
    found = _opened(record.get("tools") or record.get("functions"))
    if not found:
        return ""
    if not isinstance(found, list):
        raise RejectedRecordError("bad_tools", str(found)[:200])
    tools = [_opened(tool) for tool in found]
    if not all(isinstance(tool, Mapping) for tool in tools):
        raise RejectedRecordError("bad_tools", str(found)[:200])
    return "\n".join(_json(tool if "function" in tool else {"type": "function", "function": tool}) for tool in tools)


def _opened(value: Any) -> Any:
    """What JSON text holds; anything else as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
