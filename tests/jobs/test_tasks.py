"""Tasks are whole or not there; one run at a time; what the disk says is three lines, and what is done is kept."""

from __future__ import annotations

import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from steel_megatron.config import DataError
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.cleaning import Recipe, clean, read_recipe
from steel_megatron.corpus.dedup import SourceInput, deduplicate
from steel_megatron.jobs import tasks
from steel_megatron.jobs.locks import locked
from steel_megatron.jobs.tasks import Task, disk_errors, work_folder
from steel_megatron.tokenizer.null import NullTokenizer
from steel_megatron.tokens.tokenise.run import tokenize

PART_BYTES = 20_000


def finished(folder: Path, **counts: int) -> Task:
    task = Task(folder / "a", (".x", ".y"))
    with task.attempt() as (paths, filled):
        paths[0].write_bytes(b"one")
        paths[1].write_bytes(b"two")
        filled |= counts
    return task


def test_a_task_is_done_once_its_mark_is_there(tmp_path: Path) -> None:
    task = finished(tmp_path, records=3)
    assert task.done() == {"records": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.done", "a.x", "a.y"]
    task.file(".y").unlink()
    assert task.done() is None
    assert Task(task.stem, task.suffixes, files_go=True).done() == {"records": 3}


def test_a_failed_attempt_leaves_nothing(tmp_path: Path) -> None:
    task = Task(tmp_path / "a", (".x",))
    with pytest.raises(OSError, match="full"):
        _fail_in(task)
    assert list(tmp_path.iterdir()) == []


def _fail_in(task: Task) -> None:
    with task.attempt() as ([path], _):
        path.write_bytes(b"half")
        raise OSError("full")


@pytest.mark.parametrize("lost", ["size", "content", "mark", "empty mark"])
def test_what_a_power_cut_took_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    task = finished(tmp_path)
    monkeypatch.setattr(tasks, "_boot", lambda: "after the power cut")
    assert task.done() == {}
    file = task.file(".done" if "mark" in lost else ".x")
    file.write_bytes({"size": b"", "content": b"\0\0\0", "mark": b"\0" * 50, "empty mark": b""}[lost])
    assert task.done() is None


def test_marks_of_the_first_version_count(tmp_path: Path) -> None:
    for name, content in {"a.x": b"", "a.y": b"", "a.done": b'{"records": 5}'}.items():
        (tmp_path / name).write_bytes(content)
    assert Task(tmp_path / "a", (".x", ".y")).done() == {"records": 5}


def test_small_files_do_not_wait_for_the_disk_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    for number in range(40):
        (tmp_path / "in" / f"{number}.jsonl").write_text('{"text": "a text of some words"}\n')
    waits = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (waits.append(descriptor), fsync(descriptor)))
    convert_corpus("jsonl", [tmp_path / "in"], tmp_path / "converted.jsonl")
    assert len(waits) <= 4
    waits.clear()
    clean(recipe(tmp_path), [tmp_path / "in"], tmp_path / "cleaned.jsonl")
    assert len(waits) <= 6
    waits.clear()
    deduplicate([SourceInput("s", str(tmp_path / "in"))], tmp_path / "dedup")
    assert len(waits) <= 40 + 10  # each file has an output of its own


def recipe(folder: Path) -> Recipe:
    (folder / "recipe.yaml").write_text("process: [{text_length_filter: {min_len: 1}}]\n")
    return read_recipe(str(folder / "recipe.yaml"))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system refuses to let any file of this process grow further, as it does on a full disk or beyond a quota."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def commands(folder: Path) -> dict[str, Callable[[str], object]]:
    source = folder / "s.jsonl"
    if not source.exists():
        chance = random.Random(0)
        texts = (" ".join(str(chance.randrange(9999)) for _ in range(20)) for _ in range(3000))
        source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return {
        "convert": lambda name: convert_corpus("jsonl", [source], folder / f"{name}.jsonl", part_bytes=PART_BYTES),
        "clean": lambda name: clean(recipe(folder), [source], folder / f"{name}.jsonl", part_bytes=PART_BYTES),
        "dedup": lambda name: deduplicate([SourceInput("s", str(source))], folder / name, part_bytes=PART_BYTES),
        "tokenize": lambda name: tokenize([source], folder / name, NullTokenizer(9999), part_bytes=9000),
    }


@pytest.mark.parametrize("command", ["convert", "clean", "dedup", "tokenize"])
def test_a_full_disk_is_three_lines_and_what_is_done_is_kept(
    tmp_path: Path, command: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = commands(tmp_path)[command]
    run("whole")
    caplog.set_level("INFO")
    for size in (100_000, 12_000):
        name = f"full{size}"
        with largest_file(size), pytest.raises(DataError) as caught:
            run(name)
        given, rule, fix = str(caught.value).split("\n")
        assert re.search(r"could not be written|cannot write", given)
        assert rule.startswith("  rule: ")
        assert fix.startswith("  fix:  make room")
        caplog.clear()
        run(name)
        for path in tmp_path.rglob("whole*"):
            twin = Path(str(path).replace("whole", name))
            if path.suffix in (".jsonl", ".bin", ".idx", ".zst"):
                assert twin.read_bytes() == path.read_bytes()
        if size == 100_000:
            assert "from a run before" in caplog.text or "of a run before" in caplog.text


def test_what_the_disk_says_otherwise_is_told_too(tmp_path: Path) -> None:
    said = r"out.jsonl could not be written: .*nowhere: No such file"
    with pytest.raises(DataError, match=said) as caught, disk_errors(tmp_path / "deep" / "out.jsonl"):
        (tmp_path / "nowhere").read_bytes()
    assert "check the path; then give the command again" in str(caught.value)


HOLD = """
import sys, time
from pathlib import Path
from steel_megatron.jobs.locks import locked
with locked(Path(sys.argv[1]), "out", remove=True):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_by_one_process_and_freed_by_its_end(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(DataError, match=rf"another run \(process {process.pid}\) writes out\n"), locked(path, "out"):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert path.exists()
    with locked(path, "out", remove=True):
        pass
    assert not path.exists()


def test_where_there_are_no_locks_a_run_goes_on_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path / "lock", "out"):
        assert "out cannot be locked (No locks available)" in caplog.text


def test_a_work_folder_forgets_what_was_cut_off_and_stays_when_it_holds_work(tmp_path: Path) -> None:
    folder = tmp_path / "out.parts"
    with work_folder(folder, "out"):
        pass
    assert not folder.exists()
    with work_folder(folder, "out"):
        (folder / "a.done").touch()
        (folder / "b.x.12345678.partial").touch()
    with pytest.raises(DataError, match="another run"), work_folder(folder, "out"), work_folder(folder, "out"):
        pass
    assert sorted(path.name for path in folder.iterdir()) == ["a.done", "lock"]


SLOW = """
import sys
from pathlib import Path
from steel_megatron.corpus.dedup import SourceInput, deduplicate
from steel_megatron.tokens.tokenise.run import tokenize
from steel_megatron.tokenizer.null import NullTokenizer
command, source, output = sys.argv[1:]
if command == "dedup":
    from steel_megatron.corpus.dedup import sign
    real = sign.read_lines
    sign.read_lines = lambda part: (print("busy", flush=True), sys.stdin.readline(), real(part))[-1]
    deduplicate([SourceInput("s", source)], output)
else:
    from steel_megatron.tokens.tokenise import flow as module
    tokenize_part = module.tokenize_part
    def slow(*arguments):
        print("busy", flush=True)
        sys.stdin.readline()
        return tokenize_part(*arguments)
    module.tokenize_part = slow
    tokenize([source], output, NullTokenizer(99))
"""


@pytest.mark.parametrize("command", ["dedup", "tokenize"])
def test_a_second_run_is_refused_and_the_first_ends_well(tmp_path: Path, command: str) -> None:
    source = tmp_path / "s.jsonl"
    source.write_text('{"text": "1 2 3"}\nno record\n{"text": "4"}\n')
    output = tmp_path / "out"
    arguments = [sys.executable, "-c", SLOW, command, str(source), str(output)]
    first = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdin is not None
    assert first.stdout.readline() == b"busy\n"

    def second() -> object:
        if command == "dedup":
            return deduplicate([SourceInput("s", str(source))], output)
        return tokenize([source], output, NullTokenizer(99))

    with pytest.raises(DataError, match=rf"another run \(process {first.pid}\) writes .*out"):
        second()
    first.communicate(b"\n" * 9)
    assert first.returncode == 0
    rejects = output / "rejects.jsonl" if command == "dedup" else tmp_path / "out.rejects.jsonl"
    assert json.loads(rejects.read_bytes())["line"] == 2
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("lock"))
    assert second().done_before  # type: ignore[attr-defined]  # both results have it
