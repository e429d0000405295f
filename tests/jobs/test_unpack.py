from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from helpers.corpus_files import pieces
from steel_megatron.config import DataError
from steel_megatron.jobs.unpack import read_chunks, unpack

PACK = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress}


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.sampled_from(sorted(PACK)), st.integers(1, 60))
def test_members_and_frames_follow_one_another(parts: list[bytes], packing: str, size: int) -> None:
    data = b"".join(PACK[packing](part) for part in parts)
    assert b"".join(unpack(pieces(data, size), packing)) == b"".join(parts)


@pytest.mark.parametrize("packing", [*PACK, None])
def test_packing_is_known_by_content(tmp_path: Path, packing: str | None) -> None:
    content = random.Random(0).randbytes(1_000_000)
    path = tmp_path / "named.txt"
    path.write_bytes(PACK[packing](content) if packing else content)
    seen: list[bytes] = []
    assert b"".join(read_chunks(path, on_read=seen.append)) == content
    assert b"".join(seen) == path.read_bytes()


def test_a_stretch_of_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(bytes(range(256)) * 4000)
    assert b"".join(read_chunks(path, 300, 800_000)) == path.read_bytes()[300:800_000]


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("keep", [0.999, 0.5])
def test_a_cut_file_is_an_error_that_names_it(tmp_path: Path, packing: str, keep: float) -> None:
    packed = PACK[packing](random.Random(0).randbytes(600_000))
    path = tmp_path / "cut"
    path.write_bytes(packed[: int(len(packed) * keep)])
    with pytest.raises(DataError, match="cut: its packing is damaged or cut"):
        list(read_chunks(path))


def test_a_changed_byte_is_an_error(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(random.Random(0).randbytes(60_000)))
    packed[30_000] ^= 1
    path = tmp_path / "changed"
    path.write_bytes(packed)
    with pytest.raises(DataError, match="changed"):
        list(read_chunks(path))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nowhere"):
        list(read_chunks(tmp_path / "nowhere"))
