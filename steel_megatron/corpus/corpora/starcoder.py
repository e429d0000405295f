"""starcoderdata: source code in parquet, a folder per language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from steel_megatron.corpus.corpus import Corpus, Option, optional_string, string

# What StarCoder's authors put on a line of its own before a part of the files:
# <reponame>someone/tool<filename>tool/main.py<gh_stars>10-100
_TAG = re.compile(r"<(?:reponame|filename|gh_stars)>([^\n<]+)")
_HEAD = re.compile(r"\ufeff?(?:<(?:reponame|filename|gh_stars)>[^\n<]+)+(?:\n|\Z)")

_COMMENTS = {
    "#": "py pyi sh bash rb pl r jl yaml yml toml cmake mk tcl ps1 ex exs nim dockerfile makefile",
    "//": "c h cc cpp cxx hpp cu cuh java js jsx ts tsx go rs cs swift kt kts scala dart proto groovy php zig v sv",
    "--": "sql lua hs elm adb ads vhd vhdl",
}
_COMMENT_OF = {suffix: mark for mark, suffixes in _COMMENTS.items() for suffix in suffixes.split()}
_FIRST_LINES = ("#!", "<?php")  # lines that must stay first


def text_of(record: Mapping[str, Any], options: Mapping[str, str]) -> str:
    content = string(record, "content")
    head = _HEAD.match(content)
    code = content[head.end() :] if head else content
    if head is None or options["pseudo_tags"] == "remove":
        return code
    return with_comment(code, " ".join(_TAG.findall(head[0])), optional_string(record, "max_stars_repo_path"))


def with_comment(code: str, words: str, path: str) -> str:
    """The code with a comment at its head, or as it is where the language has no comment to the line's end."""
    pure = PurePosixPath(path)
    mark = _COMMENT_OF.get((pure.suffix.removeprefix(".") or pure.name).lower())
    if mark is None or not words.strip():
        return code
    first, line_end, rest = code.partition("\n")
    comment = f"{mark} {words.strip()}\n"
    return first + line_end + comment + rest if first.startswith(_FIRST_LINES) and line_end else comment + code


CORPUS = Corpus(
    name="starcoder",
    about="starcoderdata, source code by language",
    fields={"content": "the source file", "max_stars_repo_path": "its path, which tells the language"},
    template="content without <reponame>…<filename>…<gh_stars>… at its head, or with them as a comment",
    example={
        "max_stars_repo_path": "pkg/util.py",
        "max_stars_repo_name": "who/what",
        "max_stars_count": 12,
        "id": "0",
        "content": "<reponame>who/what\nimport os\n",
    },
    text=text_of,
    options=(
        Option(
            "pseudo_tags",
            "remove",
            "What becomes of <reponame>, <filename> and <gh_stars> at a file's head: remove them, or write their "
            "values as a comment where the language has one.",
            choices=("remove", "comment"),
        ),
    ),
)
