"""Folders of shards: the same for the same pieces, checked against their manifest, never among other things."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steel_megatron.config import ConfigError, DataError
from steel_megatron.jobs import shards
from steel_megatron.jobs.durable import partial_of
from steel_megatron.jobs.engine import Engine
from steel_megatron.jobs.shards import Piece, Target, check_shards, record_of, size_of, write_shards

PACKINGS = {".jsonl": "", ".jsonl.zst": "zst"}


def pieces_of(folder: Path, contents: list[bytes]) -> list[Piece]:
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.documents"
        path.write_bytes(content)
        made.append(Piece(path, hashlib.sha256(content).hexdigest()))
    return made


@given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=12))
def test_shards_are_the_pieces_in_order_each_large_enough(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("x")
    contents = [bytes([number]) * size for number, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "LEAST_BYTES", 10)
        records = write_shards(Engine(), pieces_of(folder / "parts", contents), folder / "out")
    staged = partial_of(folder / "out")
    files = sorted(staged.iterdir())
    assert [path.name for path in files] == [f"{number:06d}.jsonl.zst" for number in range(len(files))]
    assert b"".join(path.read_bytes() for path in files) == b"".join(contents)
    assert all(10 <= path.stat().st_size < 22 for path in files[:-1])
    for path, record in zip(files, records, strict=True):
        assert (record.path, record.bytes) == (path.name, path.stat().st_size)
        assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record_of("out", records).bytes == size_of(staged) == sum(sizes)


def test_a_piece_that_is_large_enough_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "LEAST_BYTES", 3)
    [piece] = pieces_of(tmp_path / "parts", [b"abc"])
    write_shards(Engine(), [piece], tmp_path / "out")
    assert (tmp_path / "out.partial" / "000000.jsonl.zst").samefile(piece.path)


def test_a_second_try_replaces_the_first(tmp_path: Path) -> None:
    write_shards(Engine(), pieces_of(tmp_path / "parts", [b"abc"]), tmp_path / "out")
    write_shards(Engine(), pieces_of(tmp_path / "others", [b"x"]), tmp_path / "out")
    [path] = (tmp_path / "out.partial").iterdir()
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize(
    ("name", "packing", "in_shards"),
    [("a.jsonl", "", False), ("a.b.jsonl.zst", "zst", False), ("a", "zst", True), ("v1.5/", "zst", True)],
)
def test_targets(tmp_path: Path, name: str, packing: str, in_shards: bool) -> None:
    target = Target.of(f"{tmp_path}/{name}", PACKINGS)
    assert (target.path, target.packing, target.in_shards) == (tmp_path / name.strip("/"), packing, in_shards)
    assert target.work.name == target.path.name + (".parts.partial" if in_shards else ".parts")


def test_targets_that_cannot_be_right(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ends in \.jsonl, \.jsonl\.zst, or is a folder"):
        Target.of(tmp_path / "a.parquet", PACKINGS)
    (tmp_path / "000000.jsonl.zst").write_bytes(b"")
    assert Target.of(tmp_path, PACKINGS).in_shards
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(DataError, match=r"other things in it, as mine\.txt"):
        Target.of(tmp_path, PACKINGS)


def test_a_folder_is_as_its_manifest_says(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "000000.jsonl.zst").write_bytes(b"abc")
    check_shards(folder)
    manifest = tmp_path / "out.manifest.json"
    manifest.write_text(json.dumps({"shards": [{"path": "000000.jsonl.zst", "bytes": 3}]}))
    check_shards(folder)
    (folder / "000001.jsonl.zst").write_bytes(b"")
    with pytest.raises(DataError, match=r"000001.* has 0 bytes, its manifest does not name it"):
        check_shards(folder)
    (folder / "000001.jsonl.zst").unlink()
    (folder / "000000.jsonl.zst").write_bytes(b"ab")
    with pytest.raises(DataError, match="has 2 bytes, its manifest says 3 bytes"):
        check_shards(folder)
    (folder / "000000.jsonl.zst").unlink()
    with pytest.raises(DataError, match="is not there, its manifest says 3 bytes"):
        check_shards(folder)
