"""convert, clean, classify, dedup and tokenize as tasks of a local Ray write the bytes that processes write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.dedup_runs import contents, write_source
from helpers.planted_duplicates import plant
from helpers.small_tokenizer import small_tokenizer
from steel_megatron.cli.main import main
from steel_megatron.config import DataError
from steel_megatron.corpus.classify import TrainSettings, train_classifier
from steel_megatron.corpus.classify.model import Features
from steel_megatron.corpus.dedup.work import Job
from steel_megatron.jobs.engine import _at

COMMANDS = {
    "convert": "convert --corpus jsonl --input s.jsonl --output {engine}/out.jsonl.zst",
    "clean": "clean --recipe recipe.yaml --input s.jsonl --output {engine}/out.jsonl.zst",
    "classify": "classify score --model x.classifier --input s.jsonl --output {engine}/out",
    "dedup": "dedup --input s=s.jsonl --output {engine}/out",
    "tokenize": "tokenize --input s.jsonl --tokenizer-model tokenizer --output-prefix {engine}/out",
}
PROGRAM = """
import sys
from steel_megatron.corpus.convert import run as convert
from steel_megatron.corpus.classify.score import score
from steel_megatron.corpus.cleaning import run as cleaning
from steel_megatron.corpus.dedup import run as dedup
from steel_megatron.tokens.tokenise import run as tokenise
for function in (convert.convert_corpus, cleaning.clean, score, dedup.deduplicate, tokenise.tokenize):
    function.__kwdefaults__["part_bytes"] = 1 << 14
from steel_megatron.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def make_classifier(folder: Path) -> None:
    """``x.classifier``, which tells the texts of ``s.jsonl`` from another."""
    (folder / "bad.jsonl").write_text('{"text": "navigation, login"}\n')
    settings = TrainSettings(Features(bits=8), epochs=1, held_out=0.0)
    labels = {"bad": [str(folder / "bad.jsonl")], "good": [str(folder / "s.jsonl")]}
    train_classifier(labels, folder / "x.classifier", settings)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_ray_gives_the_same_bytes(tmp_path: Path, command: str) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install ray")
    write_source(tmp_path, "s", [document.text for document in plant(9, 3, chinese=True, units=(60, 200))])
    (tmp_path / "recipe.yaml").write_text("process: [{text_length_filter: {min_len: 90}}]\n")
    small_tokenizer(tmp_path / "tokenizer")
    make_classifier(tmp_path)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    for engine in ("local", "ray"):
        words = COMMANDS[command].format(engine=engine).split()
        flags = [*words, "--engine", engine, "--workers", "2"]
        subprocess.run([sys.executable, "-c", PROGRAM, *flags], check=True, timeout=300, env=environment, cwd=tmp_path)
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.parametrize("command", COMMANDS)
def test_without_ray_it_is_said(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    write_source(tmp_path, "s", ["one text", "another"])
    (tmp_path / "recipe.yaml").write_text("process: [{text_length_filter: {min_len: 1}}]\n")
    small_tokenizer(tmp_path / "tokenizer")
    make_classifier(tmp_path)
    before = contents(tmp_path)
    assert main([*COMMANDS[command].format(engine="out").split(), "--engine", "ray"]) == 2
    assert "--engine ray, but Ray is not installed" in capfd.readouterr().err
    assert contents(tmp_path) == before


def test_machines_that_do_not_see_the_folder_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # which is put back
    job = Job(str(tmp_path / "not there"), None)  # type: ignore[arg-type]  # no plan is read
    with pytest.raises(DataError, match=r"is not there on .*\n.*--engine ray"):
        _at(str(tmp_path), (lambda state, item: item, job), 1)
