"""docs/data.md tells what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from steel_megatron.corpus import RejectedRecordError, all_corpora
from steel_megatron.corpus.corpus import REASONS

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("page", ["data.md", "data.zh-CN.md"])
def test_the_page_names_every_corpus_option_and_reason(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for corpus in all_corpora().values():
        assert f"| `{corpus.name}` |" in text
        assert all(option.flag in text for option in corpus.options)
    assert all(f"`{reason}`" in text for reason in REASONS)


@pytest.mark.parametrize("page", ["data.md", "data.zh-CN.md"])
def test_the_example_works(page: str) -> None:
    [example] = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)  # the page's own code
    text_of = names["text_of"]
    assert callable(text_of)
    record = {"title": "问", "desc": None, "answer": "答", "votes": 3}
    assert text_of(record, {"min_votes": "3"}) == "问\n答"
    with pytest.raises(RejectedRecordError, match="few_votes: 3"):
        text_of(record, {"min_votes": "4"})
