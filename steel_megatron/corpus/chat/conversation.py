"""Conversations as text by a chat template, whose control marks are told apart from what people wrote."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from steel_megatron.corpus.chat.marked_text import Mark, Text
from steel_megatron.corpus.chat.template import Pieces, Slot, jinja_pieces, read_template
from steel_megatron.corpus.corpus import Option, Options, RejectedRecordError
from steel_megatron.corpus.normalize import clean

CHATML = "chatml"
SYSTEM = "You are a helpful assistant."
START, END = Mark("<|im_start|>"), Mark("<|im_end|>")

CHAT_TEMPLATE = Option(
    "chat_template",
    CHATML,
    "How turns become text: chatml, or a tokenizer's own template, given by its folder or a file of Jinja.",
)
ROLES = {
    "system": "system",
    "developer": "system",
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bot", "model"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "ipython"), "tool"),
}
# By first letters: each user is answered; an answer that calls tools is followed by what they give, and an answer.
_IN_ORDER = re.compile("(?:ua(?:t+a)*)+")
_UNANSWERED = re.compile("(?:ua(?:t+a)*)*(?:u|ua(?:t+a)*t+)")
CHAT_REASONS = {
    "no_turns": "the conversation has no turn",
    "unknown_role": "a turn of somebody who is neither user, assistant, tool nor system",
    "roles_do_not_alternate": "the turns are not user, assistant, user, assistant …",
    "no_answer": "the conversation ends with a question, or with what a tool gave",
    "empty_turn": "a turn has no text",
    "template_fails": "the chat template takes no such conversation",
}
Turn = tuple[str, str]


def chat(turns: Iterable[Turn], options: Options) -> Text:
    """The conversation by the template of the options.

    Blank lines before a turn's text and white space behind it go; nothing else of it does.

    Args:
        turns: (role, text) in order; roles as in :data:`ROLES`.

    Raises:
        RejectedRecordError: one of :data:`CHAT_REASONS`.
    """
    checked = [(_role(role), clean(text).strip("\n").rstrip()) for role, text in turns]
    roles = tuple(role for role, _ in checked)
    _check(roles)
    numbered = enumerate(checked, start=1)
    empty = next((number for number, (role, text) in numbered if not text.strip() and role != "tool"), None)
    if empty is not None:
        raise RejectedRecordError("empty_turn", f"turn {empty} of {len(checked)}")
    return Text.of(checked[piece][1] if isinstance(piece, Slot) else piece for piece in _pieces(roles, options))


def prepare_chat(options: Options) -> Options:
    """The options with the hash of the template; it is tried out on a conversation.

    Raises:
        ConfigError: there is no such template, or it leaves turns out.
    """
    name = options["chat_template"]
    if name == CHATML:
        return options
    template = read_template(name)
    jinja_pieces(template, ("user", "assistant") * 2)
    facts = f"{template.source}\0{sorted(template.marks)}\0{sorted(template.names.items())}"
    return {**options, "chat_template_sha256": hashlib.sha256(facts.encode()).hexdigest()}


def _role(role: str) -> str:
    if role.strip().lower() not in ROLES:
        raise RejectedRecordError("unknown_role", repr(role))
    return ROLES[role.strip().lower()]


def _check(roles: Sequence[str]) -> None:
    turns = roles[1:] if roles[:1] == ("system",) else roles
    if not turns:
        raise RejectedRecordError("no_turns")
    letters = "".join(role[0] for role in turns)
    if not _IN_ORDER.fullmatch(letters):
        reason = "no_answer" if _UNANSWERED.fullmatch(letters) else "roles_do_not_alternate"
        raise RejectedRecordError(reason, ", ".join(roles[:20]))


def _pieces(roles: tuple[str, ...], options: Options) -> Pieces:
    name = options["chat_template"]
    if name != CHATML:
        return jinja_pieces(read_template(name), roles)
    return _chatml_pieces(roles)


@lru_cache(maxsize=256)
def _chatml_pieces(roles: tuple[str, ...]) -> Pieces:
    head: Pieces = () if roles[0] == "system" else (START, f"system\n{SYSTEM}", END, "\n")
    pieces: list[str | Mark | Slot] = [*head]
    for place, role in enumerate(roles):
        if role != "tool":
            pieces += [START, f"{role}\n", Slot(place), END, "\n"]
            continue
        # As Qwen writes them: what tools give is said by the user, all of one answer's calls in one turn.
        pieces += [START, "user"] if roles[place - 1] != "tool" else []
        pieces += ["\n<tool_response>\n", Slot(place), "\n</tool_response>"]
        pieces += [END, "\n"] if roles[place + 1] != "tool" else []
    return tuple(pieces)
