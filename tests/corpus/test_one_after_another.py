"""What a command leaves is what the next one reads, a second run is refused, and a disk that is full loses nothing."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.dedup_runs import lines_of, run_dedup
from helpers.small_disk import fill, mounted
from helpers.small_tokenizer import small_tokenizer
from steel_megatron.cli.main import main
from steel_megatron.corpus import convert_corpus
from steel_megatron.corpus.cleaning import clean
from steel_megatron.corpus.dedup import deduplicate
from steel_megatron.jobs.hashes import hash_file
from steel_megatron.jobs.manifest import JobManifest
from steel_megatron.tokens.manifest import Manifest

COMMANDS = {
    "convert": "convert --corpus jsonl --input {source} --output {out}.jsonl",
    "clean": "clean --recipe {recipe} --input {source} --output {out}.jsonl",
    "dedup": "dedup --input s={source} --output {out}",
}

ROOM = {"convert": 48_000, "clean": 48_000, "dedup": 200_000}  # bytes, enough for a part and too few for all


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text("process: [{text_length_filter: {min_len: 1}}]\n")
    return path


def test_the_folder_of_dedup_is_read_as_its_documents(tmp_path: Path, recipe: Path) -> None:
    texts = ["天气很好 one", "天气很好 one", "two texts", "three"]
    done = run_dedup(tmp_path, {"web": texts}, "first")
    folder = done.output
    (folder / "rejects.jsonl").write_bytes(b'{"text": "a reject"}\n')
    assert {path.name for path in folder.iterdir()} == {"web", "duplicates.jsonl.zst", "rejects.jsonl", "report.json"}
    kept = [json.loads(line)["text"] for line in lines_of(folder / "web" / "web.jsonl.zst")]
    assert kept == [texts[0], *texts[2:]]
    given = {"source": folder, "recipe": recipe, "out": tmp_path / "out"}
    for command in ("convert", "clean"):
        assert main(COMMANDS[command].format(**given | {"out": tmp_path / command}).split()) == 0
        lines = (tmp_path / f"{command}.jsonl").read_bytes().splitlines()
        assert [json.loads(line)["text"] for line in lines] == kept
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    flags = ["--input", str(folder), "--tokenizer-model", str(tokenizer), "--output-prefix", str(tmp_path / "ids")]
    assert main(["tokenize", *flags]) == 0
    manifest = Manifest.find(tmp_path / "ids_text_document")
    assert manifest is not None
    assert (manifest.documents, dict(manifest.rejects)) == (len(kept), {})
    trained = ["train-tokenizer", "--vocab-size", "300"]
    for name, source in (("of_folder", folder), ("of_file", folder / "web" / "web.jsonl.zst")):
        assert main([*trained, "--input", str(source), "--output", str(tmp_path / name)]) == 0
    made = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("of_folder", "of_file")]
    assert made[0] == made[1]


def test_manifests_make_a_chain_of_hashes(tmp_path: Path, recipe: Path) -> None:
    source = tmp_path / "raw.jsonl"
    source.write_text("".join(json.dumps({"text": f"text {n} of many"}) + "\n" for n in range(900)))
    out = {name: tmp_path / name for name in COMMANDS}
    with pytest.MonkeyPatch.context() as patch:
        for function in (convert_corpus, clean, deduplicate):
            patch.setitem(function.__kwdefaults__, "part_bytes", 6_000)
        for name, words in COMMANDS.items():
            assert main(words.format(source=source, recipe=recipe, out=out[name]).split()) == 0
            source = out[name].with_name(f"{name}.jsonl") if name != "dedup" else out[name] / "s" / "clean.jsonl.zst"
    converted, cleaned = (JobManifest.read(tmp_path / name) for name in ("convert.jsonl", "clean.jsonl"))
    compared = JobManifest.of(json.loads((out["dedup"] / "report.json").read_bytes()))
    assert converted.inputs[0].sha256 == hash_file(tmp_path / "raw.jsonl").sha256
    assert cleaned.inputs[0].sha256 == converted.outputs["documents"].sha256
    assert cleaned.inputs[0].sha256 == hash_file(tmp_path / "convert.jsonl").sha256
    assert compared.inputs[0].sha256 == cleaned.outputs["documents"].sha256
    assert compared.outputs["s/clean.jsonl.zst"].sha256 == hash_file(source).sha256


SLOW = """
import sys
from steel_megatron.jobs.parts import Part
content = Part.content
def slow(part, on_read=None):
    print("busy", flush=True)
    sys.stdin.readline()
    return content(part, on_read)
Part.content = slow
from steel_megatron.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_run_is_refused_before_it_touches_anything(
    tmp_path: Path, recipe: Path, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "s.jsonl"
    source.write_text('{"text": "1 2 3"}\nno record\n{"text": "4"}\n')
    words = COMMANDS[command].format(source=source, recipe=recipe, out=tmp_path / "out").split()
    pipe = subprocess.PIPE
    first = subprocess.Popen([sys.executable, "-c", SLOW, *words], stdin=pipe, stdout=pipe, text=True)
    assert first.stdout is not None
    while first.stdout.readline() != "busy\n":
        assert first.poll() is None

    def there() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = there()
    for more in ([], ["--overwrite"]):
        assert main([*words, *more]) == 2
        assert f"another run (process {first.pid}) writes" in capfd.readouterr().err
        assert there() == before
    first.communicate("\n" * 9)
    assert first.returncode == 0
    assert not list(tmp_path.rglob("*.parts"))
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_is_full_is_three_lines_and_what_is_done_is_kept(
    tmp_path: Path,
    recipe: Path,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    for function in (convert_corpus, clean, deduplicate):
        monkeypatch.setitem(function.__kwdefaults__, "part_bytes", 6_000)
    chance = random.Random(0)
    source = tmp_path / "s.jsonl"
    records = ({"text": " ".join(str(chance.randrange(9999)) for _ in range(40))} for _ in range(250))
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    given = {"source": source, "recipe": recipe}
    assert main(COMMANDS[command].format(**given, out=tmp_path / "whole").split()) == 0
    wanted = [*tmp_path.glob("whole.jsonl"), *tmp_path.glob("whole/s/s.jsonl.zst")]
    assert len(wanted) == 1
    with mounted(tmp_path / "disk", "4m") as disk:
        words = COMMANDS[command].format(**given, out=disk / "out").split()
        filler = disk / "filler"
        fill(filler)
        with filler.open("rb+") as file:
            file.truncate(filler.stat().st_size - ROOM[command])
        capfd.readouterr()
        assert main(words) == 2
        error, rule, fix = capfd.readouterr().err.splitlines()[-3:]
        assert "could not be written: " in error
        assert "No space left" in error
        assert rule.startswith("  rule: ")
        assert "goes on with what is done" in fix
        filler.unlink()
        caplog.clear()
        assert main(words) == 0
        assert "are there from a run before" in caplog.text
        made = [*disk.glob("out.jsonl"), *disk.glob("out/s/s.jsonl.zst")]
        assert [path.read_bytes() for path in made] == [wanted[0].read_bytes()]
