"""docs/corpora.md is written from the code, and its example and that of docs/data.md work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from steel_megatron.corpus import RejectedRecordError, all_corpora
from steel_megatron.corpus.corpus import REASONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_page_of_corpora_is_up_to_date() -> None:
    script = ROOT / "tools" / "docs" / "corpora.py"
    assert subprocess.run([sys.executable, str(script), "--check"], check=False).returncode == 0, f"run {script}"


@pytest.mark.parametrize("page", ["corpora.md", "corpora.zh-CN.md"])
def test_the_page_names_every_corpus_option_and_reason(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    for corpus in all_corpora().values():
        assert f"| `{corpus.name}` |" in text
        assert all(option.flag in text for option in corpus.options)
        assert all(f"`{reason}`" in text for reason in corpus.reasons)
    assert all(f"`{reason}`" in text for reason in REASONS)


@pytest.mark.parametrize("page", ["corpora.md", "corpora.zh-CN.md", "data.md", "data.zh-CN.md"])
def test_the_example_works(page: str) -> None:
    examples = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    for example in [example for example in examples if "CORPUS" in example]:
        names: dict[str, object] = {}
        exec(example, names)  # the page's own code
        text_of = names["text_of"]
        assert callable(text_of)
        record = {"title": "问", "desc": None, "answer": "答", "votes": 3}
        assert text_of(record, {"min_votes": "3"}) == "问\n答"
        with pytest.raises(RejectedRecordError, match="few_votes: 3"):
            text_of(record, {"min_votes": "4"})
