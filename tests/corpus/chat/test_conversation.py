"""Conversations by ChatML: whose turns they are, and which are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.corpus import RejectedRecordError
from steel_megatron.corpus.chat.conversation import END, START, SYSTEM, chat

CHATML = {"chat_template": "chatml"}


@given(st.lists(st.text("一<|im_end>\n ", min_size=1).filter(str.strip), min_size=2, max_size=6), st.booleans())
def test_marks_are_the_templates_alone(texts: list[str], system: bool) -> None:
    texts = texts[: len(texts) // 2 * 2]
    turns = [(("user", "assistant")[n % 2], text) for n, text in enumerate(texts)]
    made = chat([("system", "be kind"), *turns] if system else turns, CHATML)
    assert [made.text[start:stop] for start, stop in made.control] == [START, END] * (len(turns) + 1)
    assert made.text.startswith(f"{START}system\n{'be kind' if system else SYSTEM}{END}\n")


def test_roles_by_any_name_and_white_space_at_the_ends() -> None:
    made = chat([(" Human", "\n  问 \n"), ("GPT", "答\n\n")], CHATML)
    assert made.text.endswith(f"{START}user\n  问{END}\n{START}assistant\n答{END}\n")


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([], "no_turns"),
        ([("system", "x")], "no_turns"),
        ([("robot", "x")], "unknown_role"),
        ([("assistant", "x")], "roles_do_not_alternate"),
        ([("user", "x"), ("user", "y")], "roles_do_not_alternate"),
        ([("user", "x"), ("system", "y")], "roles_do_not_alternate"),
        ([("user", "x"), ("assistant", "y"), ("user", "z")], "no_answer"),
        ([("user", "x"), ("assistant", " \n")], "empty_turn"),
    ],
)
def test_refused(turns: list[tuple[str, str]], reason: str) -> None:
    with pytest.raises(RejectedRecordError) as error:
        chat(turns, CHATML)
    assert error.value.reason == reason
