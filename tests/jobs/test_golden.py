"""Outputs and half-done work of version 0.1.0 (golden/jobs/make.py) are read, recognised and gone on with."""

from __future__ import annotations

import json
import logging
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from steel_megatron import __version__
from steel_megatron.config import DataError
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.cleaning import clean, read_drops, read_recipe
from steel_megatron.corpus.cleaning.drops import drop_of
from steel_megatron.corpus.dedup import SourceInput, deduplicate
from steel_megatron.jobs.manifest import JobManifest
from steel_megatron.jobs.unpack import read_content
from steel_megatron.tokenizer import build_tokenizer
from steel_megatron.tokens.indexed import IndexedDataset
from steel_megatron.tokens.manifest import Manifest
from steel_megatron.tokens.merge.run import merge
from steel_megatron.tokens.tokenise.run import tokenize

GOLDEN = Path(__file__).parents[1] / "golden" / "jobs"
MADE_WITH = "0.1.0"
PART_BYTES = 600  # as make.py has it
COMMANDS = {"convert": "converted.jsonl", "clean": "cleaned.jsonl", "dedup": "dedup", "tokenize": "ids"}


@pytest.fixture(params=["files", "files_07d5f40"])
def golden(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files where they were made: paths are relative but for those of dedup, which are put in."""
    with tarfile.open(GOLDEN / f"{request.param}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    for path in [*tmp_path.glob("done/dedup/*.json*"), tmp_path / "half" / "dedup" / ".work" / "plan.json"]:
        if b"@ROOT@" in (content := path.read_bytes()):
            path.write_bytes(content.replace(b"@ROOT@", str(tmp_path).encode()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(command: str, folder: str, **settings: Any) -> Any:
    if command == "convert":
        return convert_corpus("jsonl", ["raw"], f"{folder}/converted.jsonl", part_bytes=PART_BYTES)
    if command == "clean":
        return clean(read_recipe("recipe.yaml"), ["raw"], f"{folder}/cleaned.jsonl", part_bytes=PART_BYTES)
    if command == "dedup":
        return deduplicate([SourceInput("web", "raw")], f"{folder}/dedup", part_bytes=PART_BYTES)
    tokenizer = build_tokenizer(None, "tokenizer")
    return tokenize(["raw"], f"{folder}/ids", tokenizer, append_eod=True, part_bytes=500, **settings)


def content_of(folder: Path, name: str) -> dict[str, Any]:
    """What a command left, by file: unpacked bytes; JSON without what may differ between versions and machines."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        where = path.relative_to(folder).as_posix()
        if not path.is_file() or not where.startswith(name):
            continue
        if path.suffix == ".json":
            found[where] = told_by(json.loads(path.read_bytes()))
        elif path.name.endswith(("rejects.jsonl", ".drops.jsonl.zst")):
            rejects = map(drop_of, map(json.loads, b"".join(read_content(path)).splitlines()))
            found[where] = {n: reject | {"detail": ""} for n, reject in enumerate(rejects)}  # words may get better
        elif path.suffix in (".jsonl", ".zst", ".bin", ".idx", ".partial"):
            found[where] = b"".join(read_content(path))
    return found


def told_by(content: dict[str, Any]) -> dict[str, Any]:
    """What a manifest or report says, in today's form, whichever form it has."""
    if "recipe" in content:  # the report of clean, whose manifest stands beside it
        content["samples"] = {name: list(map(drop_of, drops)) for name, drops in content["samples"].items()}
        content["operations"] = [each | {"about": ""} for each in content["operations"]]  # words may get better
        content["inputs"] = [file if isinstance(file, str) else file["path"] for file in content["inputs"]]
    elif "encoder" not in content:
        content |= JobManifest.of(content).content()
        for counts in (*content.get("files", ()), *content.get("sources", {}).values()):
            counts.pop("output_bytes")  # packed, which depends on where the parts are cut
        old = ("plan", "made_of", "corpus", "options", "source", "output_bytes", "output_sha256")
        content = {key: value for key, value in content.items() if key not in old}
    return {key: value for key, value in content.items() if key not in ("encoder", "code_version", "format")}


def same(made: Any, wanted: Any) -> bool:
    """JSON may say more than it did: what it did not say is empty or 0."""
    if isinstance(wanted, dict) and isinstance(made, dict):
        return all(key in made and (value in ("", 0) or same(made[key], value)) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(made, list):
        return len(made) == len(wanted) and all(map(same, made, wanted))
    return bool(made == wanted)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_finished_run_is_recognised_and_left(golden: Path, command: str) -> None:
    name = COMMANDS[command]
    before = {path: path.read_bytes() for path in golden.glob(f"done/{name}*") if path.is_file()}
    assert run(command, "done").done_before or __version__ != MADE_WITH
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("command", ["convert", "clean", "dedup"])
def test_a_stopped_run_goes_on_to_the_same_bytes(golden: Path, command: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert not run(command, "half").done_before
    says = ("from a run before", "done before", "of a run before")
    went_on = [line for line in caplog.messages if any(words in line for words in says)]
    assert went_on or __version__ != MADE_WITH
    made, wanted = (content_of(golden / folder, COMMANDS[command]) for folder in ("half", "done"))
    assert made.keys() == wanted.keys()
    for where, content in wanted.items():
        assert same(made[where], content), where


def test_a_stopped_tokenize_is_refused_and_begun_again_only_when_asked(golden: Path) -> None:
    before = {path: path.read_bytes() for path in golden.glob("half/ids*")}
    with pytest.raises(DataError, match=r"ids\.tokenize\.partial is there: a run of an earlier version") as caught:
        run("tokenize", "half")
    assert [line[:8] for line in str(caught.value).split("\n")[1:]] == ["  rule: ", "  fix:  "]
    assert {path: path.read_bytes() for path in golden.glob("half/ids*")} == before
    run("tokenize", "half", overwrite=True)
    made, wanted = (content_of(golden / folder, "ids") for folder in ("half", "done"))
    assert made.keys() == wanted.keys()
    assert all(same(made[where], content) for where, content in wanted.items())
    assert not list(golden.glob("half/ids*.partial"))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_same_bytes_come_from_nothing(golden: Path, command: str) -> None:
    (golden / "new").mkdir()
    run(command, "new")
    made, wanted = (content_of(golden / folder, COMMANDS[command]) for folder in ("new", "done"))
    assert made.keys() == wanted.keys()
    assert [where for where in wanted if not same(made[where], wanted[where])] == []


def test_an_old_dataset_and_its_lists_are_read(golden: Path) -> None:
    dataset = IndexedDataset("done/ids_text_document")
    manifest = Manifest.find("done/ids_text_document")
    assert manifest is not None
    assert (dataset.token_count, dataset.document_count) == (manifest.tokens, manifest.documents)
    shutil.copy("done/ids_text_document.bin", "second.bin")
    shutil.copy("done/ids_text_document.idx", "second.idx")
    merged = merge(["done/ids_text_document", "second"], "both", use_manifests=False)
    assert merged.documents == 2 * dataset.document_count
    drops = list(read_drops(Path("done/cleaned.jsonl")))
    assert drops
    assert all(drop["operation"] in ("read", "text_length_filter") for drop in drops)
