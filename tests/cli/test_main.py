"""The command line's frame: help for every command, errors as three lines and status 2."""

from __future__ import annotations

import subprocess
import sys

import pytest

from steel_megatron.cli.main import COMMANDS, main


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_for_every_flag(name, capsys):
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert f"steel {name}" in text
    assert len(text.splitlines()) > 5


def test_unknown_command_names_the_nearest(capsys):
    assert main(["tokenise"]) == 2
    assert "did you mean tokenize?" in capsys.readouterr().err


def test_unknown_flag_is_three_lines_not_a_traceback():
    result = subprocess.run(
        [sys.executable, "-m", "steel_megatron", "train", "--train-itrs", "3"], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert "did you mean --train-iters?" in result.stderr
    assert "Traceback" not in result.stderr
