"""The report of cleaning: sums over sources, histograms, and a page on which no document's text is markup."""

from __future__ import annotations

import pytest

from steel_megatron.corpus.cleaning.part import Cleaner
from steel_megatron.corpus.cleaning.recipe import Recipe
from steel_megatron.corpus.cleaning.report import report_of, write_html

RECIPE = Recipe(
    "<my>.yaml",
    (("whitespace_normalization_mapper", {}), ("text_length_filter", {"min_len": 5})),
    passed_over=("document_simhash_deduplicator",),
)
LINES = [
    b'{"text": "long enough", "source": "a"}',
    b'{"text": "<b>&", "source": "b", "id": "<i>"}',
    b'{"text": "also long", "source": "b"}',
    b"<script>",
]


def reported(tokenizer: str = "") -> dict:
    cleaner = Cleaner(RECIPE.build(), "text", len if tokenizer else None)
    for at, line in enumerate(LINES):
        cleaner.clean(line, True, {"file": "f", "byte": at})
    report = report_of(RECIPE, cleaner.tally, tokenizer)
    return report | {"inputs": ["f"], "records": cleaner.tally.records, "documents": cleaner.tally.documents}


def test_operations_hold_the_sums_of_the_sources():
    report = reported()
    assert report["dropped"] == 2
    mapper, filter_ = report["operations"]
    assert (mapper["in"]["documents"], mapper["out"]["documents"]) == (3, 3)
    assert (filter_["in"]["documents"], filter_["out"]["documents"]) == (3, 2)
    for unit in ("documents", "characters"):
        assert filter_["out"][unit] == sum(facts["out"][unit] for facts in report["sources"].values())
    assert report["reasons"].keys() == {"read", "text_length_filter"}


def test_only_filters_have_a_statistic_and_no_limit_is_none():
    mapper, filter_ = reported()["operations"]
    assert "statistic" not in mapper
    statistic = filter_["statistic"]
    assert (statistic["low"], statistic["high"]) == (5, None)
    assert sum(count for _, _, count in statistic["histogram"]) == 3
    assert all(low < high for low, high, _ in statistic["histogram"])


@pytest.mark.parametrize(("tokenizer", "units"), [("", 2), ("null:", 3)])
def test_tokens_are_told_only_where_they_were_counted(tokenizer, units):
    report = reported(tokenizer)
    assert len(report["sources"]["a"]["in"]) == units
    assert ("<th>tokens in" in write_html(report)) is (units == 3)


def test_the_page_escapes_what_documents_hold():
    page = write_html(reported())
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;&amp;" in page
    assert "Recipe <code>&lt;my&gt;.yaml</code>, 1 file." in page
    assert "4 records: 2 kept, 2 dropped (50.0 %)" in page
    assert "Left to <code>steel dedup</code>: document_simhash_deduplicator" in page


def test_a_run_without_records_has_a_page():
    report = report_of(RECIPE, Cleaner(RECIPE.build(), "text").tally, "")
    page = write_html(report | {"inputs": [], "records": 0, "documents": 0})
    assert "None was dropped." in page
    assert "0 files" in page
