"""The members of tar and zip archives, one after another, each read once."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

from steel_megatron.config import DataError
from steel_megatron.jobs.files import ContentStream
from steel_megatron.jobs.unpack import PACKING_ERRORS, read_blocks, unpacked

_TAR_BLOCK = 512
_UTF8_NAME, _ENCRYPTED = 0x800, 0x1  # bits of a zip member's flags


@dataclass(frozen=True)
class Member:
    """A file of an archive; ``content``, unpacked once more if it is packed itself, ends with the next member."""

    name: str
    size: int
    content: Iterator[bytes]
    encrypted: bool = False


def tar_members(content: Iterator[bytes], name: str) -> Iterator[Member]:
    """The files of a tar archive (unpacked), without ever going back.

    Raises:
        DataError: it is damaged, or has no end. (Python's own reader takes either for the end of the archive.)
    """
    stream = ContentStream(content)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r|") as archive:
            headers = cast("Any", archive)
            for info in archive:
                file = archive.extractfile(info) if info.isfile() else None
                if file is not None:
                    yield Member(info.name.removeprefix("./"), info.size, _content(file, f"{name}/{info.name}"))
                headers.members.clear()  # it keeps every header that it has seen
            headers_end = headers.offset
        while stream.read(1 << 20):
            pass
    except tarfile.TarError as error:
        raise _damaged(name, str(error)) from None
    if stream.last_mark > headers_end:
        raise _damaged(name, f"what stands at byte {headers_end:,} is no header")
    if stream.position < headers_end + _TAR_BLOCK:
        raise _damaged(name, "it has no end")


def zip_files(file: IO[bytes], name: str) -> list[zipfile.ZipInfo]:
    """The files of a zip archive, in their order.

    Raises:
        DataError: it is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _damaged(name, str(error)) from None


def zip_members(file: IO[bytes], name: str, places: Sequence[int] | None = None) -> Iterator[Member]:
    """The files of a zip archive at these places of :func:`zip_files`, or all.

    Raises:
        DataError: it is damaged.
    """
    files = zip_files(file, name)
    try:
        with zipfile.ZipFile(file) as archive:
            for place in range(len(files)) if places is None else places:
                info = files[place]
                if info.flag_bits & _ENCRYPTED:
                    yield Member(member_name(info), info.file_size, iter(()), encrypted=True)
                    continue
                with archive.open(info) as member:
                    yield Member(member_name(info), info.file_size, _content(member, f"{name}/{info.filename}"))
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError) as error:
        raise _damaged(name, str(error)) from None


def _content(file: IO[bytes], name: str) -> Iterator[bytes]:
    try:
        yield from unpacked(read_blocks(file))
    except (*PACKING_ERRORS, zipfile.BadZipFile, tarfile.TarError) as error:
        raise _damaged(name, str(error)) from None


def member_name(info: zipfile.ZipInfo) -> str:
    """The name as it was meant: Chinese systems write GBK where no flag says UTF-8."""
    if info.flag_bits & _UTF8_NAME or info.filename.isascii():
        return info.filename
    try:
        return info.filename.encode("cp437").decode("gb18030")
    except UnicodeError:
        return info.filename


def _damaged(name: str, what: str) -> DataError:
    return DataError(f"{name}: the archive is damaged or cut: {what}", fix="copy or download it again")
