"""What the system refuses is three lines and status 2 in every command, whichever option named the path.

The options are found from the parsers. Each that takes a text is given paths that lead nowhere good; one that takes no
notice of a path below a file opens none.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from helpers.bad_paths import immutable_folder, make_bad_paths, make_mutable
from helpers.command_options import CommandOption, every_option
from helpers.command_world import LINES, line_without, make_world, say
from helpers.forked import in_child
from steel_megatron.verify import processes as verify_processes
from steel_megatron.verify.layouts import Outcome

TEXTS = [option for option in every_option() if option.takes_text]
WRITING = [command for command in LINES if command not in ("inspect", "plan", "generate", "mix plan", "mix add")]
NOBODY = 65534
# What was given, with a line for each file where it is about several; then rule and fix, or one of them.
THREE_LINES = re.compile(r"error: \S.*(\n.*){,5}\n(  rule: \S.*\n  fix:  \S.*|  (rule:|fix: ) \S.*)\n\Z")


@pytest.fixture(scope="module")
def world() -> Iterator[Path]:
    """A folder that other users may enter, too, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            make_world(folder)
        yield folder


@pytest.fixture(autouse=True)
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In the world, where ``out`` is empty. Layouts are not trained: what is tried is the command around that."""
    monkeypatch.chdir(world)
    monkeypatch.setattr(verify_processes, "verify", lambda _, layouts, __: [Outcome(one.name) for one in layouts])
    yield
    shutil.rmtree("out", ignore_errors=True)


def refusals(option: CommandOption, paths: Mapping[str, str]) -> Iterator[str]:
    """What a command does wrong when its option gets one of these paths, by what is wrong with the path."""
    form = option.action.metavar if isinstance(option.action.metavar, str) else ""
    for line in LINES.get(" ".join(option.command), [""]):
        words = [*option.command, *line_without(line, option.action, option.parser)]
        for fault, path in paths.items():
            shutil.rmtree("out", ignore_errors=True)
            value = f"a={path}" if "=" in form else path
            status, out, err = say(*words, *([option.flag] if option.flag else []), value)
            yield from (f"{fault}: {wrong}" for wrong in wrongs(status, out, err))
            if status == 0 and fault == "below a file":
                break  # it is no path


def wrongs(status: int, out: str, err: str) -> Iterator[str]:
    if status not in (0, 2) or "Traceback" in out + err:
        yield f"status {status}: {err[-1500:]}"
    elif status == 2 and not THREE_LINES.search(err):
        yield f"not three lines: {err[-1500:]}"


@pytest.mark.parametrize("option", TEXTS, ids=str)
def test_a_path_that_leads_nowhere_good(option: CommandOption, tmp_path: Path) -> None:
    paths = make_bad_paths(tmp_path / "bad")
    if option.command == ("doctor",):
        del paths["empty"]  # it stands for the default preset, which would be timed
    assert list(refusals(option, paths)) == []


def test_the_options_that_name_paths_are_among_them() -> None:
    found = {str(option) for option in TEXTS}
    assert found >= {"train --save", "train --load", "train --config", "export --output", "merge --input"}
    assert found >= {"inspect prefix", "mix add run", "mix plan --figure", "verify --certificate", "convert --input"}


@pytest.mark.parametrize("option", TEXTS, ids=str)
def test_a_folder_that_cannot_be_written(option: CommandOption, tmp_path: Path) -> None:
    folder = tmp_path / "immutable"
    if not immutable_folder(folder):
        pytest.skip("needs root, chattr and a file system that knows immutable folders")
    try:
        assert list(refusals(option, {"immutable": str(folder / "x"), "immutable itself": str(folder)})) == []
    finally:
        make_mutable(folder)


def test_what_another_user_may_not_read_or_write(world: Path) -> None:
    """As root permissions bind nobody, so a child process becomes somebody else.

    It may not be able to read Python itself, so whatever it needs is loaded before.
    """
    for command, lines in LINES.items():
        for line in lines:
            assert say(*command.split(), *line.split())[0] == 0, f"{command} {line}"
    shutil.rmtree("out")
    closed, locked, secret = world / "closed", world / "locked", world / "secret.jsonl"
    closed.mkdir(mode=0o700)
    locked.mkdir(mode=0o555)
    secret.touch(mode=0o600)
    (world / "out").mkdir(mode=0o777)
    world.chmod(0o777)
    paths = {"closed": closed / "x", "closed itself": closed, "locked": locked / "x", "secret": secret}

    def try_all() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        else:
            closed.chmod(0)
            secret.chmod(0)
        given = {fault: str(path) for fault, path in paths.items()}
        found = [f"{option}: {wrong}" for option in TEXTS for wrong in refusals(option, given)]
        assert found == [], "\n".join(found)

    try:
        assert in_child(try_all) == 0
    finally:
        closed.chmod(0o700)
        world.chmod(0o755)


@pytest.mark.parametrize("command", WRITING)
def test_a_disk_that_is_full_and_has_room_again(command: str) -> None:
    """A limit on the size of files stands for the full disk: writing past it fails, also in C++ and for root."""
    words = [*command.split(), *LINES[command][0].split()]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        status, out, err = say(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == 2, out + err
    assert list(wrongs(status, out, err)) == []
    status, out, err = say(*words)
    assert status == 0, err


def test_the_flag_is_named_with_the_path(world: Path) -> None:
    line = LINES["train-tokenizer"][0].replace("out/tokenizer", "text.jsonl/tokenizer")
    assert say("train-tokenizer", *line.split())[2].startswith(
        "error: --output text.jsonl/tokenizer: Not a directory\n  rule: every part of a path but the last is a folder"
    )


def test_a_worker_process_that_cannot_read(world: Path) -> None:
    shutil.copy("text.jsonl", "more.jsonl")
    line = "convert --corpus jsonl --workers 2 --output out/text.jsonl --input text.jsonl /proc/self/mem"
    status, out, err = say(*line.split())
    assert status == 2
    assert list(wrongs(status, out, err)) == []


@pytest.mark.parametrize("words", [["train", "--help"], ["plan", "--list"], ["inspect", "data_text_document"]])
def test_a_reader_that_goes_away_is_no_error(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(words, writing)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in (0, 141)  # argparse takes no notice when it writes a help text


def test_standard_output_on_a_full_disk() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = run(["plan", "--list"], full.fileno())
    assert done.returncode == 2
    assert done.stderr.startswith("error: No space left on device\n  rule: ")
    assert "standard output" in done.stderr
    assert len(done.stderr.splitlines()) == 3


def run(words: list[str], output: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "steel_megatron", *words], check=False, stdout=output, stderr=subprocess.PIPE, text=True
    )
