"""What the system refuses (a path, a disk that is full) in three lines: what was given, the rule, the fix."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Iterable

from steel_megatron.config.errors import SteelError

_SPACE = ("the disk, or what this user may write, has room for it", "make room, or give another path")
_PATH = "check the path"
_RIGHTS = ("this user may read what is read, and write the folder of what is written", "check owner and mode (ls -ld)")

# Error number → rule and fix.
_SAYS = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: (_RIGHTS[0], "check owner, mode and attributes (ls -ld, lsattr -d)"),
    errno.EROFS: ("what is written lies on a file system that can be written", "give another path"),
    errno.ENOENT: ("the path leads somewhere, also through its links", _PATH),
    errno.ENOTDIR: ("every part of a path but the last is a folder; a file stands here in its place", _PATH),
    errno.EISDIR: ("it is a file, and not a folder", _PATH),
    errno.EEXIST: ("nothing else stands there, such as a file where a folder is to be", "give another path"),
    errno.ENOTEMPTY: ("nothing else stands there", "give another path"),
    errno.ELOOP: ("symbolic links lead to a file or folder, not in a circle", "check the link (ls -l)"),
    errno.ENAMETOOLONG: ("a name has at most 255 bytes, a path 4,096", "give a shorter path"),
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: ("a file is no larger than the system lets this user write (ulimit -f)", _SPACE[1]),
    errno.EIO: ("the device gives and takes its bytes", "look at the disk or the mount (dmesg); read a copy"),
    errno.EINVAL: ("the file system can do what is asked of it", "give a path on another file system"),
    errno.EOPNOTSUPP: ("the file system can do what is asked of it", "give a path on another file system"),
    errno.ESTALE: ("the file is still there on the server of the mount", "mount it anew, or read a copy"),
    errno.EBUSY: ("nobody else holds it", "give another path, or end what uses this one"),
    errno.ETXTBSY: ("nobody else holds it", "give another path, or end what uses this one"),
    errno.EXDEV: ("source and target lie on one file system", "give a path beside the other"),
    errno.ENODEV: ("the path leads to a file or folder that can be read or written", _PATH),
    errno.ENXIO: ("the path leads to a file or folder that can be read or written", _PATH),
    errno.ESPIPE: ("it is a file, and not a pipe", "write it to a file first"),
    errno.EMFILE: ("this process may have so many files open (ulimit -n)", "ulimit -n 65536, or fewer workers"),
    errno.ENFILE: ("the system may have so many files open", "close others, or use fewer workers"),
    errno.ENOMEM: ("there is memory for it", "use fewer workers, or end what takes the memory"),
    errno.EAGAIN: ("the system may start so many processes and threads (ulimit -u)", "use fewer workers"),
}

# How the names of files end that are not whole yet: jobs.durable.PARTIAL, and .tmp with or without a process's id.
_TEMPORARY = re.compile(r"(?<=[^/])(\.partial|\.tmp\d*)$")


class SystemRefusedError(SteelError):
    """A path or a resource that the system refuses."""


def about_files(error: BaseException) -> bool:
    """Whether an error comes from a file, a folder or a limit, and not from a connection."""
    if not isinstance(error, OSError) or isinstance(error, (ConnectionError, TimeoutError, socket.gaierror)):
        return False
    return error.errno in _SAYS


def explained(error: OSError, named: Iterable[tuple[str, str]] = ()) -> SystemRefusedError:
    """The error in words.

    Args:
        named: flags and paths, among which the one at fault is looked for.
    """
    named = list(named)
    what = _strerror(error)
    path = _path_of(error)
    if path is None:
        others = [f"{flag} {value}".strip() for flag, value in named]
        given, where = what, f"; it was {' or '.join(others)}" if others else ""
    else:
        related = [(len(value), flag, value) for flag, value in named if _related(value, path)]
        given, where = f"{path}: {what}", ""
        if related:
            _, flag, value = max(related)
            given = f"{flag} {value}: {what if value == path else given}"
    rule, fix = _SAYS.get(error.errno or 0, ("what a command reads and writes is there and can be used", _PATH))
    return SystemRefusedError(_one_line(given), rule=rule, fix=_one_line(f"{fix}{where}"))


def complete(error: SteelError) -> None:
    """Gives an error that has only named what the system refused the rule and the fix of that.

    C++ and worker processes hand over the system's words alone: they tell which refusal it was.
    """
    if error.rule or error.fix:
        return
    cause = error.__cause__ or error.__context__
    if not isinstance(cause, OSError) or not about_files(cause):
        number = next((number for number in _SAYS if os.strerror(number) in error.given), None)
        if number is None:
            return
        cause = OSError(number, os.strerror(number))
    words = explained(cause)
    SteelError.__init__(error, _one_line(error.given), words.rule, words.fix)


def _strerror(error: OSError) -> str:
    if error.errno in _SAYS:
        return error.strerror or os.strerror(error.errno)
    return str(error) or type(error).__name__


def _path_of(error: OSError) -> str | None:
    if error.errno not in _SAYS:
        return None  # the message of a library, which names what it likes
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, bytes | str)]
    if not names:
        return None
    # What is renamed had a name of ours; what the user knows is the name it is to have.
    return _own_name(names[0] if error.errno == errno.ENOENT else names[-1])


def _own_name(path: str) -> str:
    """The name that a file is to have, for the one that it has until it is whole and could not even be given."""
    return path if os.path.lexists(path) else _TEMPORARY.sub("", path)


def _related(given: str, path: str) -> bool:
    """Whether a path is what was given, something below or beside it (a prefix), or a folder that it is to lie in."""
    one, other = os.path.abspath(given), os.path.abspath(path)
    return bool(given) and (other.startswith(one) or one.startswith(other.rstrip("/") + "/"))


def _one_line(text: str) -> str:
    shown = " ".join(text.split())
    return shown if len(shown) <= 400 else f"{shown[:200]} … {shown[-180:]}"
