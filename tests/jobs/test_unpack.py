from __future__ import annotations

import bz2
import gzip
import lzma
import random
import struct
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from helpers.corpus_files import pieces
from steel_megatron.config import DataError
from steel_megatron.jobs import unpack as unpack_module
from steel_megatron.jobs.unpack import read_content, refuse_unread, unpack

PACK = {
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor().compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
}


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
    assert b"".join(read_content(path, on_read=seen.append)) == content
    assert b"".join(seen) == path.read_bytes()


def test_a_stretch_of_a_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "plain"
    path.write_bytes(bytes(range(256)) * 4000)
    assert b"".join(read_content(path, 300, 800_000)) == path.read_bytes()[300:800_000]


@pytest.mark.parametrize("packing", PACK)
@pytest.mark.parametrize("keep", [0.999, 0.5])
def test_a_cut_file_is_an_error_that_names_it(tmp_path: Path, packing: str, keep: float) -> None:
    packed = PACK[packing](random.Random(0).randbytes(600_000))
    path = tmp_path / "cut"
    path.write_bytes(packed[: int(len(packed) * keep)])
    with pytest.raises(DataError, match="cut: its packing is damaged or cut"):
        list(read_content(path))


def test_a_changed_byte_is_an_error(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(random.Random(0).randbytes(60_000)))
    packed[30_000] ^= 1
    path = tmp_path / "changed"
    path.write_bytes(packed)
    with pytest.raises(DataError, match="changed"):
        list(read_content(path))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*nowhere"):
        list(read_content(tmp_path / "nowhere"))


def _skippable(content: bytes) -> bytes:
    return struct.pack("<II", 0x184D2A5C, len(content)) + content


@pytest.mark.parametrize("size", [6, 7, 1 << 18])
def test_zstd_as_pzstd_and_others_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    frames = [zstandard.compress(part) for part in (b"one\n", b"", b"two\n")]
    packed = _skippable(b"\x10\0\0\0") + frames[0] + _skippable(b"") + frames[1] + frames[2] + _skippable(b"index")
    (tmp_path / "a.zst").write_bytes(packed)
    monkeypatch.setattr(unpack_module, "READ_BYTES", size)
    assert b"".join(read_content(tmp_path / "a.zst")) == b"one\ntwo\n"
    (tmp_path / "a.zst").write_bytes(packed[:-2])
    with pytest.raises(DataError, match="damaged or cut"):
        list(read_content(tmp_path / "a.zst"))


@pytest.mark.parametrize(("pack", "broken"), [(bz2.compress, 30), (lzma.compress, 30)])
def test_bzip2_and_xz_in_several_streams_whole_cut_and_damaged(tmp_path: Path, pack: Any, broken: int) -> None:
    text = b"".join(b"%d\n" % (i * i) for i in range(9999))
    (tmp_path / "a").write_bytes(pack(text) + pack(b"") + pack(b"end\n"))
    assert b"".join(read_content(tmp_path / "a")) == text + b"end\n"
    data = bytearray(pack(text))
    for damaged in (data[:-5], data[:broken] + bytes(40) + data[broken + 40 :]):
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(DataError, match="damaged or cut"):
            list(read_content(tmp_path / "a"))


def test_text_that_begins_like_a_packing_is_text(tmp_path: Path) -> None:
    for text in (b"BZh9 is how bzip2 begins", b"LZIP is a packing", b"Rar is another"):
        (tmp_path / "a").write_bytes(text)
        assert b"".join(read_content(tmp_path / "a")) == text
        refuse_unread(tmp_path / "a")
