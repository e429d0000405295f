"""What the system refuses, in words."""

from __future__ import annotations

import errno
import os

from steel_megatron.config.errors import DataError
from steel_megatron.config.os_errors import about_files, complete, explained


def test_an_error_names_the_flag_whose_path_is_at_fault() -> None:
    refused = PermissionError(errno.EACCES, "Permission denied", "/data/out/part.bin")
    error = explained(refused, [("--input", "/data/in"), ("--output", "/data/out")])
    assert error.given == "--output /data/out: /data/out/part.bin: Permission denied"
    assert "ls -ld" in error.fix
    assert explained(refused).given == "/data/out/part.bin: Permission denied"


def test_a_temporary_name_is_told_as_the_one_it_was_to_have() -> None:
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "/nowhere/a.json.tmp123")
    assert explained(missing).given == "/nowhere/a.json: No such file or directory"


def test_without_a_path_all_that_were_given_are_named() -> None:
    error = explained(OSError(errno.ENOSPC, "No space left on device"), [("--save", "/a"), ("--data", "/b")])
    assert error.fix.endswith("it was --save /a or --data /b")


def test_connections_are_not_about_files() -> None:
    assert about_files(OSError(errno.ENOSPC, "full"))
    assert not about_files(ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
    assert not about_files(TimeoutError(errno.EAGAIN, "late"))
    assert not about_files(ValueError("x"))


def test_words_alone_get_the_rule_and_fix_of_their_refusal() -> None:
    bare = DataError(f"a.bin: {os.strerror(errno.EMFILE)}")
    complete(bare)
    assert "ulimit -n" in bare.rule
    own = DataError(f"a.bin: {os.strerror(errno.EMFILE)}", rule="its own")
    complete(own)
    assert (own.rule, own.fix) == ("its own", "")
    other = DataError("a.bin is of another version")
    complete(other)
    assert other.rule == ""
