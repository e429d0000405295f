from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.corpus_files import pieces
from steel_megatron.corpus.readers.json_array import read_json_array

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.sampled_from('ab"\\{}[],:\n 中é')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab{"', max_size=2), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.lists(st.dictionaries(st.text("xy,", max_size=2), VALUES, max_size=3), max_size=6)


def values_and_reasons(data: bytes, size: int = 1 << 16, **kwargs: Any) -> tuple[list[Any], list[str]]:
    rows = list(read_json_array(pieces(data, size), **kwargs))
    return [row.value for row in rows if row.error is None], [row.error.reason for row in rows if row.error]


@given(RECORDS, st.sampled_from([None, 0, 2]), st.booleans(), st.integers(1, 50))
def test_elements_are_those_of_the_whole_parse(
    records: list[Any], indent: int | None, ascii_only: bool, size: int
) -> None:
    data = json.dumps(records, indent=indent, ensure_ascii=ascii_only).encode()
    assert values_and_reasons(b"\xef\xbb\xbf \n" + data + b"\n\n", size) == (records, [])


@given(RECORDS.filter(bool), st.integers(1, 50))
def test_rows_tell_number_and_line(records: list[Any], size: int) -> None:
    data = b"[\n" + b",\n".join(json.dumps(record).encode() for record in records) + b"\n]"
    rows = list(read_json_array(pieces(data, size)))
    assert [(row.number, row.line) for row in rows] == [(i + 1, i + 2) for i in range(len(records))]


BROKEN = {
    "a quotation mark lost": '{"t": "bad, "s": "x"}',
    "the last quotation mark lost": '{"t": "bad, "s": "x}',
    "a brace lost": '{"t": "bad", "s": "x"',
    "a bracket lost": '{"t": ["bad", "s"}',
    "a bracket too many": '{"t": "bad"]}',
    "a bare word": '{"t": bad}',
    "a raw line feed": '{"t": "ba\nd", "s": "x"}',
    "a comma too many": '{"t": "bad",,}',
    "a half escape": '{"t": "bad\\u12"}',
    "another comma, nested": '{"t": [{"t2": "bad}, {"t2": "x"}], "s": "x"}',
    "bytes that are no text": '{"t": "\udcff"}',
    "no object": '"bad"',
    "a number": "17",
    "a list": '[{"s": 1}]',
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("between", [", ", ",\n  "])
@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_a_broken_element_costs_itself(broken: str, between: str, place: int, size: int) -> None:
    good = [{"t": f"text {i}", "s": "}, {"} for i in range(4)]
    elements = [json.dumps(record) for record in good]
    elements.insert(place, broken)
    data = ("[" + between.join(elements) + "]").encode("utf-8", "surrogateescape")
    values, reasons = values_and_reasons(data, size)
    assert values == good
    assert len(reasons) == 1


@pytest.mark.parametrize("broken", ['{\n  "t": "bad', '{\n  "t": ["bad"}\n}', '{\n  "t": bad\n}'])
@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_objects_one_behind_the_other(broken: str, place: int, size: int) -> None:
    good = [{"t": f"text {i}", "s": {"u": i}} for i in range(3)]
    objects = [json.dumps(record, indent=2) for record in good]
    objects.insert(place, broken)
    rows = list(read_json_array(pieces("\n".join(objects).encode() + b"\n", size), brackets=False))
    assert [row.value for row in rows if row.error is None] == good
    assert [row.error.reason for row in rows if row.error] == ["bad_json"]


@given(st.integers(1, 60))
def test_a_cut_file_says_so(size: int) -> None:
    good = [{"t": "a"}, {"t": "b"}]
    whole = json.dumps(good).encode()
    for cut, values in ((len(whole) - 1, good), (len(whole) - 3, good[:1]), (11, good[:1]), (5, [])):
        found, reasons = values_and_reasons(whole[:cut], size)
        assert found == values
        assert reasons == ["bad_json"]


def test_an_element_without_end_is_not_held() -> None:
    data = b'[{"t": "' + b"x" * 10_000 + b'"}, {"t": "y"}]'
    assert values_and_reasons(data, 100, max_record_bytes=1000) == ([{"t": "y"}], ["bad_json"])


def test_a_long_array_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.json"
    with open(path, "w", encoding="utf-8") as file:
        element = json.dumps({"completion": "长" * 20_000, "source": "x"}, ensure_ascii=False)
        file.write("[" + ",\n".join([element] * 2000) + "]")
    program = f"""
import resource
from pathlib import Path
from steel_megatron.corpus.readers.json_array import read_json_array
from steel_megatron.jobs.unpack import read_content
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert sum(1 for row in read_json_array(read_content(Path({str(path)!r}))) if row.value) == 2000
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000, "KiB more than before"
"""
    assert path.stat().st_size > 100e6
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("between", [b"", b"\n", b"\xef\xbb\xbf", b" \n\xef\xbb\xbf "])
def test_files_of_one_array_each_that_were_joined(between: bytes) -> None:
    content = b'[{"a": 1}, {"a": [2]}]' + between + b'[{"a": 3}]' + between + b"[]\n"
    for size in (1, 7, 1000):
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        rows = list(read_json_array(iter(pieces)))
        assert [row.value for row in rows] == [{"a": 1}, {"a": [2]}, {"a": 3}]
