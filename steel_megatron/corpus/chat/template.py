"""A tokenizer's own chat template (Jinja, as transformers keeps it) taken apart into marks, text and places for turns.

The template is rendered with a placeholder for each turn, which no turn's text can be mistaken for: what a turn says is
put in afterwards, so it cannot become a mark, and the template never sees it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from steel_megatron.config import ConfigError, read_text
from steel_megatron.config.texts import read_json_object
from steel_megatron.corpus.chat.marked_text import Mark
from steel_megatron.corpus.corpus import RejectedRecordError
from steel_megatron.jobs.needed import needed

_FIX = "give chatml, a tokenizer's folder, or a file that holds the template"
_LOOKS_LIKE_MARK = r"<\|[^|<>\s]+\|>|</?s>|<(?:bos|eos|start_of_turn|end_of_turn)>|\[/?INST\]"
_SLOT = re.compile("\ue000([0-9]+)\ue001")


class Slot(int):
    """The place of a turn, by its number."""


Pieces = tuple["str | Mark | Slot", ...]


@dataclass(frozen=True, eq=False)
class Template:
    """A template's source, its tokenizer's control tokens, and the names by which the source calls some of them."""

    source: str
    marks: frozenset[str]
    names: Mapping[str, str]


@lru_cache(maxsize=4)
def read_template(path: str) -> Template:
    """The template of a tokenizer's folder, or of a file.

    A file beside a ``tokenizer_config.json`` takes its marks from there; without one, what is written like
    ``<|this|>`` is a mark.

    Raises:
        ConfigError: there is none.
    """
    given = Path(path)
    folder = given if given.is_dir() else given.parent
    config = read_json_object(folder / "tokenizer_config.json")
    if given.is_file() and given.suffix != ".json":
        source = read_text(given)
    elif given.is_file():
        source = _source(read_json_object(given).get("chat_template"))
    elif (folder / "chat_template.jinja").is_file():
        source = read_text(folder / "chat_template.jinja")
    else:
        source = _source(
            config.get("chat_template") or read_json_object(folder / "chat_template.json").get("chat_template")
        )
    if not source:
        raise ConfigError(f"--chat-template {path}", rule="a chat template is there", fix=_FIX)
    names = {name: text for name, value in config.items() if name.endswith("_token") and (text := _content(value))}
    added = [
        *config.get("added_tokens_decoder", {}).values(),
        *read_json_object(folder / "tokenizer.json").get("added_tokens", []),
    ]
    special = [_content(token) for token in added if token.get("special")]
    more = [_content(token) for token in config.get("additional_special_tokens") or []]
    return Template(source, frozenset(filter(None, [*names.values(), *special, *more])), names)


@lru_cache(maxsize=256)
def jinja_pieces(template: Template, roles: tuple[str, ...]) -> Pieces:
    """What the template writes for turns of these roles.

    Raises:
        ConfigError: it is no Jinja, or leaves a turn out.
        RejectedRecordError: it refuses such a conversation.
    """
    jinja2, sandbox = needed("jinja2", "--chat-template"), needed("jinja2.sandbox", "--chat-template")

    def refuse(message: str) -> None:
        raise RejectedRecordError("template_fails", message)

    def to_json(value: Any, **settings: Any) -> str:
        return json.dumps(value, ensure_ascii=False, **settings)

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    turns = [{"role": role, "content": f"\ue000{place}\ue001"} for place, role in enumerate(roles)]
    # Tags for training on answers only, which say nothing of the text.
    source = re.sub(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}", r"{%\1 if true \2%}{% endif %}", template.source)
    try:
        text = environment.from_string(source).render(messages=turns, add_generation_prompt=False, **template.names)
    except jinja2.TemplateError as error:
        raise ConfigError(f"the chat template fails: {error}", fix=_FIX) from None
    if [int(place) for place in _SLOT.findall(text)] != list(range(len(roles))):
        raise ConfigError(
            "the chat template leaves turns out, or writes them twice", rule="each turn is written once, in order"
        )
    return tuple(_cut(text, template.marks))


def _cut(text: str, marks: frozenset[str]) -> list[str | Mark | Slot]:
    """The rendered text in pieces; of marks that begin alike the longest one counts."""
    longest_first = sorted(marks, key=len, reverse=True)
    mark = "|".join(map(re.escape, longest_first)) if marks else _LOOKS_LIKE_MARK
    pieces: list[str | Mark | Slot] = []
    for number, piece in enumerate(re.split(f"({_SLOT.pattern.replace('(', '(?:')}|{mark})", text)):
        slot = _SLOT.fullmatch(piece)
        if slot:
            pieces.append(Slot(slot[1]))
        elif piece:
            pieces.append(Mark(piece) if number % 2 else piece)
    return pieces


def _source(value: Any) -> str:
    """The template itself; of several, the one named default."""
    if isinstance(value, list):
        named = {entry.get("name"): entry.get("template") for entry in value}
        value = named.get("default")
    return value if isinstance(value, str) else ""


def _content(token: Any) -> str:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""
