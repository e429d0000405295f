from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from steel_megatron.jobs.files import open_file
from steel_megatron.jobs.unpack import read_content

# The signal is handled by another thread, so it does not end the main thread's read: as when it comes just before one.
READER = """
import signal, sys, threading
from steel_megatron.jobs.unpack import read_content

signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(0.3, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT)).start()
try:
    for data in read_content(sys.argv[1]):
        print(len(data))
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_is_noticed_while_a_pipe_is_silent(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-c", READER, str(pipe)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with process, pipe.open("wb", buffering=0) as writer:
        writer.write(b"some text")
        try:
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert output == "interrupted\n"


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = os.urandom(3_000_000)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    assert b"".join(read_content(pipe)) == content
    writer.join()


def test_a_regular_file_is_seekable_and_a_pipe_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123")
    with open_file(tmp_path / "file") as file:
        file.seek(2)
        assert file.read() == b"23"
    reading, writing = os.pipe()
    os.close(writing)
    with open_file(f"/dev/fd/{reading}") as file:
        assert not file.seekable()
        assert file.read() == b""
    os.close(reading)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_file(tmp_path / "none")
