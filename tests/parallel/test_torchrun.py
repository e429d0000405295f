"""What torchrun is told where it starts this package, and how it ends."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from steel_megatron.parallel import torchrun
from steel_megatron.parallel.torchrun import host_of, prepare, say_in_a_line, starts_this_package

ROOT = Path(__file__).parents[2]
RUN = ["-m", "steel_megatron", "train", "--local-addr", "of the program"]
NOWHERE = "no.such.host.invalid"


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        (["python", "/venv/bin/torchrun", "--nproc-per-node", "2", *RUN], True),
        (["python", "-m", "torch.distributed.run", *RUN], True),
        (["python", "/venv/bin/torchrun", "--no-python", "/venv/bin/steel", "train"], True),
        (["python", "/venv/bin/torchrun", "other.py"], False),
        (["python", "-u", *RUN], False),
        (["python", "steel_megatron/torchrun", "other.py"], False),
    ],
)
def test_only_a_torchrun_of_this_package_is_touched(words, ours):
    assert starts_this_package(words) is ours


def prepared(
    monkeypatch: pytest.MonkeyPatch, name: str, *flags: str, **environment: str
) -> tuple[list[str], dict[str, str]]:
    monkeypatch.setattr(torchrun.socket, "getfqdn", lambda: name)
    arguments = ["torchrun", *flags, *RUN]
    prepare(arguments, environment)
    assert arguments[-len(RUN) :] == RUN
    return arguments[1 : -len(RUN)], environment


def test_a_machine_whose_name_leads_nowhere_talks_to_itself(monkeypatch):
    assert prepared(monkeypatch, NOWHERE, "--standalone")[0] == ["--local-addr", "127.0.0.1", "--standalone"]
    assert prepared(monkeypatch, "192.0.2.1")[0] == ["--local-addr", "127.0.0.1"]  # an address that is not here
    assert prepared(monkeypatch, "localhost", "--standalone")[0] == ["--standalone"]
    given = ["--local_addr=10.0.0.1", "--standalone"]
    assert prepared(monkeypatch, NOWHERE, *given)[0] == given


def test_among_several_nodes_it_gives_the_address_that_leads_there(monkeypatch):
    several = ["--nnodes", "2", "--rdzv-endpoint", "127.0.0.1:29500"]
    assert prepared(monkeypatch, NOWHERE, *several)[0] == ["--local-addr", "127.0.0.1", *several]
    assert prepared(monkeypatch, "192.0.2.1", *several)[0] == several  # known, and perhaps right for the others


def test_a_meeting_place_that_nobody_knows_is_three_lines(monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        prepared(monkeypatch, "localhost", "--nnodes=2", f"--rdzv_endpoint={NOWHERE}:29500")
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: --rdzv-endpoint {NOWHERE}:29500: this machine knows no {NOWHERE}\n")
    assert len(printed.splitlines()) == 3


def test_there_is_time_to_save_unless_it_is_told_otherwise(monkeypatch):
    _, environment = prepared(monkeypatch, "localhost")
    assert environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "600"
    assert "SIGUSR1" in environment["PET_SIGNALS_TO_HANDLE"]
    given = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "5", "PET_SIGNALS_TO_HANDLE": "SIGTERM"}
    assert prepared(monkeypatch, "localhost", **given)[1] == given


def test_hosts_of_endpoints():
    assert [host_of(text) for text in ("node0:29500", "node0", "[::1]:29500", "10.0.0.1:1")] == [
        "node0",
        "node0",
        "::1",
        "10.0.0.1",
    ]


class SignalException(Exception):  # noqa: N818 - torch's name
    sigval = signal.SIGINT


class ChildFailedError(Exception):
    def get_first_failure(self):
        return 3, SimpleNamespace(exitcode=-9, pid=77, signal_name=lambda: "SIGKILL")


def test_the_end_is_a_line_for_what_is_no_fault_of_torchruns(capsys):
    for error in (SignalException(), ChildFailedError()):
        say_in_a_line(type(error), error, None)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "torchrun: got SIGINT; all its processes have ended"
    assert lines[1].startswith("torchrun: rank 3 on ")
    assert lines[1].endswith(" (process 77) was ended by SIGKILL")
    say_in_a_line(ValueError, ValueError("of its own"), None)
    assert "ValueError: of its own" in capsys.readouterr().err


def test_the_package_declares_the_plugin():
    assert f'steel_megatron = "{torchrun.__name__}:handler"' in (ROOT / "pyproject.toml").read_text()
    assert torchrun.handler() is torchrun._no_rendezvous
    assert sys.excepthook is not say_in_a_line  # this process is no torchrun
