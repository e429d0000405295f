"""A part of a corpus becomes documents and rejects, which add up to its records."""

from __future__ import annotations

import json

import pytest

from helpers.corpus_files import write_json_lines
from steel_megatron.corpus.convert.part import DOCUMENTS, REJECTED, ConvertJob, convert_part
from steel_megatron.corpus.convert.plan import plan_parts
from steel_megatron.corpus.registry import find_corpus
from steel_megatron.jobs.inputs import Input
from steel_megatron.jobs.parts import InputFile
from steel_megatron.jobs.unpack import read_content

MINE = """
from steel_megatron.corpus.corpus import Corpus, name_field, string

def text(record, options):
    if "number" in record:
        return str(1 // record["number"])
    return string(record, "t")

MINE = Corpus("mine", "a test", {"t": "text"}, text, identity=name_field("id"))
"""


def converted(folder, records, packing: str = ""):
    """The counts, documents and rejects of one file."""
    (folder / "mine.py").write_text(MINE)
    (folder / "work").mkdir()
    corpus = f"{folder / 'mine.py'}:MINE"
    path = write_json_lines(folder / "a.jsonl", records)
    given = Input(str(path), "below/a.jsonl", False)
    (part,), _ = plan_parts([given], [InputFile.of(given)], find_corpus(corpus), 1)
    job = ConvertJob(corpus, {}, "web", packing, str(folder / "work"))
    counts = convert_part(job, part)
    files = [job.task(part).file(suffix) for suffix in (DOCUMENTS, REJECTED)]
    return counts, *([json.loads(line) for line in b"".join(read_content(path)).splitlines()] for path in files)


@pytest.mark.parametrize("packing", ["", "gz", "zst"])
def test_documents_have_text_source_and_id(tmp_path, packing):
    counts, documents, rejects = converted(tmp_path, [{"t": "你"}, b"", {"t": "b", "id": "own"}], packing)
    assert documents == [
        {"text": "你", "source": "web", "id": "below/a.jsonl:1"},
        {"text": "b", "source": "web", "id": "own"},
    ]
    assert (counts["records"], counts["documents"], counts["text_bytes"]) == (2, 2, 4)
    assert rejects == []


def test_rejects_name_reason_and_line_and_cost_only_themselves(tmp_path):
    counts, documents, rejects = converted(tmp_path, [{"t": 3}, b"{bad", {"number": 0}, {"t": "good"}, {"t": " "}])
    assert [document["text"] for document in documents] == ["good"]
    assert [(reject["line"], reject["reason"]) for reject in rejects] == [
        (1, "not_a_string"),
        (2, "bad_json"),
        (3, "unexpected"),
        (5, "empty"),
    ]
    assert "ZeroDivisionError" in rejects[2]["detail"]
    assert counts["rejects"] == {"bad_json": 1, "empty": 1, "not_a_string": 1, "unexpected": 1}
    assert counts["records"] == counts["documents"] + sum(counts["rejects"].values())
