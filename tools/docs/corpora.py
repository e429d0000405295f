"""Writes docs/corpora.md and its Chinese twin from the code, so that the pages cannot lag behind it.

Usage: python tools/docs/corpora.py [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import corpora_words as words

from steel_megatron.corpus import all_corpora
from steel_megatron.corpus.chat.marked_text import Text
from steel_megatron.corpus.corpus import REASONS, Corpus, Document, Kind
from steel_megatron.corpus.normalize import normalize

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = {"en": DOCS / "corpora.md", "zh": DOCS / "corpora.zh-CN.md"}


def page(language: str) -> str:
    """The whole page as Markdown, in ``en`` or ``zh``."""
    headings = words.HEADINGS[language]
    corpora = all_corpora().values()
    parts = [words.HEAD[language], f"## {headings['corpora']}\n", *_overview(language)]
    parts += [section for corpus in corpora for section in _section(corpus, language)]
    parts += [f"\n## {headings['reasons']}\n\n{words.REASONS_INTRO[language]}\n", *_table(headings["reason_columns"])]
    parts += [f"| `{reason}` | {_say(text, language)} |" for reason, text in REASONS.items()]
    parts += [f"\n{words.TAIL[language]}"]
    return "\n".join(parts)


def _overview(language: str) -> list[str]:
    rows = _table(words.HEADINGS[language]["overview_columns"])
    for corpus in all_corpora().values():
        rows.append(f"| `{corpus.name}` | {_say(corpus.about, language)} | {_say(corpus.template, language)} |")
    return rows


def _section(corpus: Corpus, language: str) -> list[str]:
    heading = words.HEADINGS[language]
    parts = [
        f"\n### {corpus.name}\n",
        f"{heading['files']}{_kinds(corpus, language)}\n",
        *_publication(corpus, language),
        *_table(heading["field_columns"]),
    ]
    parts += [f"| `{name}` | {_say(text, language)} |" for name, text in corpus.fields.items()]
    if corpus.options:
        parts += ["", *_table(heading["option_columns"])]
        for option in corpus.options:
            default = f"`{option.default}`" if option.default else ""
            parts.append(f"| `{option.flag}` | {default} | {_say(option.help, language)} |")
    if corpus.reasons:
        parts += ["", *_table(heading["reason_columns"])]
        parts += [f"| `{reason}` | {_say(text, language)} |" for reason, text in corpus.reasons.items()]
    record = json.dumps(corpus.example, ensure_ascii=False, indent=None)
    parts += [f"\n{heading['example']}\n", "```json", record, example_line(corpus), "```"]
    return parts


def _publication(corpus: Corpus, language: str) -> list[str]:
    """Where it is published, its licence, and what to know beforehand."""
    heading = words.HEADINGS[language]
    said = [f"- {heading['download']}{corpus.download}"] if corpus.download else []
    said += [f"- {heading['licence']}{_say(corpus.licence, language)}"] if corpus.licence else []
    said += [f"- {heading['caution']}{_say(corpus.caution, language)}"] if corpus.caution else []
    return [*said, ""] if said else []


def example_line(corpus: Corpus) -> str:
    """What the corpus makes of its example, without source and id."""
    defaults = {option.name: option.default for option in corpus.options}
    whole_file = Kind.TEXT in corpus.kinds and set(corpus.example) == {"text", "name"}
    record = Document(corpus.example) if whole_file else corpus.example
    text = normalize(corpus.text(record, defaults))
    if isinstance(text, Text):
        return json.dumps({"text": text.text, "control": text.control}, ensure_ascii=False)
    return json.dumps({"text": text}, ensure_ascii=False)


def _kinds(corpus: Corpus, language: str) -> str:
    comma = "、" if language == "zh" else ", "
    return comma.join(_say(kind.value, language) for kind in corpus.kinds) + ("。" if language == "zh" else ".")


def _table(columns: str) -> list[str]:
    names = columns.split("|")
    return [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]


def _say(text: str, language: str) -> str:
    said = text if language == "en" else words.CHINESE[text]
    return said.replace("|", "&#124;").replace("<", "&lt;")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    check = parser.parse_args().check
    for language, path in PAGES.items():
        if check and path.read_text(encoding="utf-8") != page(language):
            return 1
        if not check:
            path.write_text(page(language), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
