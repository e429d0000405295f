"""Every command reads its input from URLs, plain and packed, and writes what it writes of the same files on disk."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import fsspec
import pytest

from helpers.small_tokenizer import small_tokenizer
from steel_megatron.cli.main import main

COMMANDS = {
    "convert": "convert --corpus jsonl --input {web} --output {out}.jsonl",
    "clean": "clean --recipe {recipe} --input {web} --output {out}.jsonl",
    "dedup": "dedup --exact-only --input web={web} --output {out}",
    "train-tokenizer": "train-tokenizer --input {web} --vocab-size 300 --output {out}",
    "tokenize": "tokenize --input {web} --tokenizer-model {tokenizer} --output-prefix {out}",
}
OUTPUTS = (".jsonl", ".zst", ".bin", ".idx", "tokenizer.json")


def made(folder: Path) -> dict[str, bytes]:
    """What a command wrote, without lists, manifests and reports, which name the places of the inputs."""
    files = [path for path in sorted(folder.rglob("*")) if path.name.endswith(OUTPUTS)]
    told = ("rejects", "drops")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not any(w in path.name for w in told)}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("urls")
    lines = [json.dumps({"text": f"{word} 天气 {word * 3}", "id": word}).encode() for word in "abcdefgh"]
    files = {
        "a.jsonl": b"\n".join([*lines[:3], b"no record", lines[3]]) + b"\n",
        "deep/b.ndjson.gz": gzip.compress(b"\n".join(lines[2:])),
        "a.jsonl.rejects.jsonl": b'{"text": "never"}\n',
    }
    for name, content in files.items():
        (folder / "web" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "web" / name).write_bytes(content)
        fsspec.filesystem("memory").pipe(f"/web/{name}", content)
    (folder / "recipe.yaml").write_text("process: [{text_length_filter: {min_len: 1}}]\n")
    small_tokenizer(folder / "tokenizer")
    return {"folder": folder, "recipe": folder / "recipe.yaml", "tokenizer": folder / "tokenizer"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_url_is_read_as_a_folder_is(places: dict[str, Path], tmp_path: Path, command: str) -> None:
    local = places["folder"] / "web"
    for name, web in {"disk": str(local), "memory": "memory://web", "file": f"file://{local}"}.items():
        (tmp_path / name).mkdir()
        workers = [] if command == "train-tokenizer" or name == "memory" else ["--workers", "2"]
        words = COMMANDS[command].format(web=web, out=tmp_path / name / "out", **places).split()
        assert main([*words, *workers]) == 0
        if command != "train-tokenizer":
            assert main([*words, *workers]) == 0  # it is there, and recognised
        assert made(tmp_path / name) == made(tmp_path / "disk")
    assert made(tmp_path / "disk")
