"""Imported token ids, against files written from the description of each format."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.megatron_files import read_megatron
from steel_megatron.cli.main import main
from steel_megatron.config import ConfigError, DataError
from steel_megatron.reports.inspect import verify
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens.foreign import token_files
from steel_megatron.tokens.foreign.import_tokens import import_tokens
from steel_megatron.tokens.manifest import Manifest

NULL = ("NullTokenizer", None, 100)  # ids 0 to 100, of which 100 ends documents


def write_litpkds(folder: Path, stream: list[int], chunk: int, filling: int, dtype: str = "uint16") -> list[Path]:
    """A stream as lit-gpt's builder writes it: chunks of one size, the last one filled up."""
    codes = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "float32": 6, "float64": 7, "uint16": 8}
    folder.mkdir(exist_ok=True)
    padded = stream + [filling] * (-len(stream) % chunk)
    paths = []
    for number, start in enumerate(range(0, len(padded), chunk)):
        head = b"LITPKDS" + struct.pack("<Q", 1) + struct.pack("<B", codes[dtype]) + struct.pack("<Q", chunk)
        paths.append(folder / f"train_{number:010}.bin")
        paths[-1].write_bytes(head + np.array(padded[start : start + chunk], dtype).tobytes())
    return paths


def documents_of(prefix: str) -> list[list[int]]:
    return [[token for sequence in document for token in sequence] for document in read_megatron(prefix)[1]]


contents = st.lists(st.lists(st.integers(2, 9), min_size=1, max_size=12), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(contents, st.integers(1, 9), st.integers(1, 7), st.booleans(), st.sampled_from(["uint16", "int32", "int64"]))
def test_packed_files(docs: list[list[int]], chunk: int, at_once: int, begins: bool, dtype: str) -> None:
    marked = [[1, *doc] if begins else [*doc, 1] for doc in docs]
    stream = [token for doc in marked for token in doc]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_files, "IDS", at_once)
        write_litpkds(Path(folder) / "in", stream, chunk, filling=1, dtype=dtype)
        (Path(folder) / "in" / "notes.txt").write_text("of no kind")
        marker = {"begin_id": 1} if begins else {"end_id": 1}
        done = import_tokens([f"{folder}/in"], f"{folder}/out", build_tokenizer(*NULL), **marker)
        assert documents_of(f"{folder}/out") == marked
        assert verify(f"{folder}/out").hashes_checked
        manifest = Manifest.find(f"{folder}/out")
    assert done.padding == -len(stream) % chunk
    assert manifest is not None
    assert (manifest.documents, manifest.tokens) == (len(docs), len(stream))
    assert len(manifest.inputs) == -(-len(stream) // chunk)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=12))
def test_parquet(docs: list[list[int]]) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_files, "ROWS", 5)
        table = pa.table({"name": ["x"] * len(docs), "ids": pa.array(docs, pa.list_(pa.int32()))})
        pq.write_table(table, f"{folder}/a.parquet", row_group_size=3)
        import_tokens([f"{folder}/a.parquet"], f"{folder}/out", build_tokenizer(*NULL), append_eod=True)
        assert documents_of(f"{folder}/out") == [[*doc, 100] if doc else [] for doc in docs]


def test_parquet_rows_that_are_no_documents(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = [[1, 2], None, [3, None], [4, 101], [-5], [100]]
    column = pa.array(rows, pa.large_list(pa.int64()))
    pq.write_table(pa.table({"ids": column, "mask": column}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"ids, mask[\s\S]*--column"):
        import_tokens([tmp_path / "a.parquet"], tmp_path / "out", build_tokenizer(*NULL))
    with pytest.raises(ConfigError, match="--column text"):
        import_tokens([tmp_path / "a.parquet"], tmp_path / "out", build_tokenizer(*NULL), column="text")
    assert not list(tmp_path.glob("out*"))
    done = import_tokens(
        [tmp_path / "a.parquet"], tmp_path / "out", build_tokenizer(*NULL), column="ids", append_eod=True
    )
    assert documents_of(str(tmp_path / "out")) == [[1, 2, 100], [100]]
    assert done.rejects == {"null": 1, "null_id": 1, "outside_vocabulary": 2}
    assert done.documents + sum(done.rejects.values()) == len(rows)
    lines = [json.loads(line) for line in (tmp_path / "out.rejects.jsonl").read_text().splitlines()]
    assert {line["file"] for line in lines} == {str(tmp_path / "a.parquet")}
    assert [line["line"] for line in lines] == [2, 3, 4, 5]


def test_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.arange(6, dtype=np.int64).reshape(3, 2))
    import_tokens([tmp_path / "rows.npy"], tmp_path / "rows", build_tokenizer(*NULL))
    assert documents_of(str(tmp_path / "rows")) == [[0, 1], [2, 3], [4, 5]]
    import_tokens([tmp_path / "rows.npy"], tmp_path / "cut", build_tokenizer(*NULL), end_id=2)
    assert documents_of(str(tmp_path / "cut")) == [[0, 1, 2], [3, 4, 5]]
    np.save(tmp_path / "one.npy", np.array([7, 8], np.uint16))
    done = import_tokens([tmp_path / "one.npy"], tmp_path / "one", None)
    assert (done.dtype, done.manifest, documents_of(str(tmp_path / "one"))) == ("int32", None, [[7, 8]])


def test_what_cannot_be_imported(tmp_path: Path) -> None:
    null = build_tokenizer(*NULL)
    (packed,) = write_litpkds(tmp_path / "in", [1, 2], 2, 1)
    floats = tmp_path / "floats.npy"
    np.save(floats, np.zeros(3))
    other = tmp_path / "other.bin"
    other.write_bytes(b"MMIDIDX")
    for given_, more, problem in (
        ([packed], {}, "--begin-id 1"),
        ([packed], {"begin_id": 1, "end_id": 1}, "one of the two"),
        ([packed, floats], {"begin_id": 1}, "files of litpkds and npy"),
        ([floats], {}, "float64"),
        ([other], {}, "no file of token ids"),
        ([tmp_path / "none"], {}, "no input file at"),
        ([packed], {"begin_id": 1, "column": "x"}, "parquet's"),
    ):
        with pytest.raises((ConfigError, DataError), match=problem):
            import_tokens(given_, tmp_path / "out", null, **more)
    packed.write_bytes(packed.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"27 bytes, its head tells of 2 ids of 2 bytes: 28"):
        import_tokens([packed], tmp_path / "out", null, begin_id=1)
    (packed,) = write_litpkds(tmp_path / "in", [1, 2], 2, 1, dtype="float32")
    with pytest.raises(DataError, match="type 6"):
        import_tokens([packed], tmp_path / "out", null, begin_id=1)
    (packed,) = write_litpkds(tmp_path / "in", [1, 1], 2, 1)
    with pytest.raises(DataError, match="no document"):
        import_tokens([packed], tmp_path / "out", null, begin_id=1)
    assert not list(tmp_path.glob("out*"))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_litpkds(tmp_path / "in", [1, 5, 6, 1, 7], 4, 1)
    flags = ["import-dataset", "--input", str(tmp_path / "in"), "--output-prefix", str(tmp_path / "out")]
    assert main([*flags, "--begin-id", "1"]) == 2
    assert "--no-manifest" in capsys.readouterr().err
    assert main([*flags, "--begin-id", "1", "--no-manifest"]) == 0
    assert "2 documents, 5 tokens (int32)\nleft out 3 ids of padding\nno manifest" in capsys.readouterr().out
    null = ["--tokenizer-type", "NullTokenizer", "--vocab-size", "100", "--begin-id", "1"]
    assert main([*flags, *null]) == 2
    assert "there already" in capsys.readouterr().err
    assert main([*flags, *null, "--overwrite"]) == 0
    assert main(["inspect", str(tmp_path / "out"), "--verify"]) == 0
    assert "hashes of .bin and .idx agree" in capsys.readouterr().out
