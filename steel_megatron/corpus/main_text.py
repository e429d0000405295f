"""The main text of a page of HTML, without menus, foots and advertisements, by the library that is asked for."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping

from steel_megatron.config import ConfigError
from steel_megatron.corpus.corpus import Option, Options, RejectedRecordError
from steel_megatron.corpus.readers.html import page_text

EXTRACTOR = Option(
    "extractor",
    "trafilatura",
    "Finds the main text of a page: trafilatura is more exact, resiliparse many times as fast; all: all text.",
    choices=("trafilatura", "resiliparse", "all"),
)
PAGE_REASONS = {"no_main_text": "no main text is found on the page"}


def prepare_extractor(options: Options) -> Options:
    """The options, once the library is there.

    Raises:
        ConfigError: it is not installed.
    """
    name = options["extractor"]
    if name != "all" and importlib.util.find_spec(name) is None:
        raise ConfigError(
            f"--extractor {name}, and {name} is not installed",
            fix='pip install "steel-megatron[web]"; or --extractor all, which keeps menus and foots',
        )
    return options


def main_text(html: str, options: Options) -> str:
    """The text of a page, a block a line.

    Raises:
        RejectedRecordError: ``no_main_text``.
    """
    text = _EXTRACTORS[options["extractor"]](html) if html.strip() else ""
    if not text.strip():
        raise RejectedRecordError("no_main_text")
    return text


def _by_trafilatura(html: str) -> str:
    import trafilatura

    return trafilatura.extract(html, include_comments=False, favor_precision=True, with_metadata=False) or ""


def _by_resiliparse(html: str) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    return str(extract_plain_text(html, main_content=True, alt_texts=False))


_EXTRACTORS: Mapping[str, Callable[[str], str]] = {
    "trafilatura": _by_trafilatura,
    "resiliparse": _by_resiliparse,
    "all": page_text,
}
