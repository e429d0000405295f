"""What is said of an error, with which status a process ends, and whether a restart could help."""

from __future__ import annotations

import errno

import pytest

from steel_megatron.config import ConfigError, DeviceMemoryError, StalledRunError, SteelError, StorageError
from steel_megatron.parallel.processes.failure import exit_status, in_full, in_words, is_final, one_line, tell

REFUSED = ConfigError("--lr -1", rule="it is above 0", fix="give a rate above 0")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (REFUSED, 2),
        (KeyboardInterrupt(), 130),
        (SystemExit(3), 3),
        (SystemExit(None), 0),
        (SystemExit("words"), 1),
        (ZeroDivisionError(), 1),
    ],
)
def test_exit_statuses(error, status):
    assert exit_status(error) == status


@pytest.mark.parametrize("kind", [DeviceMemoryError, StalledRunError, StorageError])
def test_what_may_pass_is_not_final(kind):
    assert not is_final(kind("given", rule="rule", fix="fix"))
    assert not is_final(ZeroDivisionError())
    assert is_final(REFUSED)


def test_a_users_error_is_three_lines_and_another_has_its_traceback():
    assert in_full(REFUSED).splitlines()[0] == "error: --lr -1"
    assert len(in_full(REFUSED).splitlines()) == 3
    try:
        raise ZeroDivisionError("by zero\nand more")
    except ZeroDivisionError as error:
        found, line = in_full(error), one_line(error)
    assert line == "ZeroDivisionError: by zero"
    assert found.startswith(f"error: {line}\n")
    assert found.index("this should not happen") < found.index("Traceback")


def test_a_full_disk_is_put_into_words():
    found = in_words(OSError(errno.ENOSPC, "No space left on device", "/data/x"))
    assert isinstance(found, SteelError)
    assert str(found).splitlines()[0] == "/data/x: No space left on device"
    other = ValueError("x")
    assert in_words(other) is other


def test_a_single_process_tells_nobody(monkeypatch, capfd):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    tell(REFUSED)
    assert capfd.readouterr() == ("", "")
