"""Folders that appear whole or not at all, shards, sizes, and files that are damaged."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from steel_megatron.config import CheckpointError, ConfigError
from steel_megatron.huggingface.folder import (
    INDEX,
    SINGLE,
    StateFolder,
    new_folder,
    plan_shards,
    read_config,
    write_shards,
)


@given(sizes=st.lists(st.integers(0, 50), max_size=40), limit=st.integers(1, 60))
def test_shards_hold_all_tensors_in_order_and_no_more_than_the_limit(sizes, limit):
    tensors = [(f"t{i}", size) for i, size in enumerate(sizes)]
    shards = plan_shards(tensors, limit)
    assert [name for shard in shards for name in shard] == [name for name, _ in tensors]
    size_of = dict(tensors)
    for number, shard in enumerate(shards):
        total = sum(size_of[name] for name in shard)
        assert total <= limit or len(shard) == 1
        if number + 1 < len(shards):  # the next tensor did not fit
            assert total + size_of[shards[number + 1][0]] > limit


def test_one_shard_is_held_at_a_time(tmp_path):
    asked = []

    def build(names):
        asked.append(list(names))
        return {name: torch.full((4,), float(name)) for name in names}

    total = write_shards(tmp_path, [(str(i), 16) for i in range(5)], build, 32)
    assert total == 80
    assert asked == [["0", "1"], ["2", "3"], ["4"]]
    index = json.loads((tmp_path / INDEX).read_text())
    assert index["metadata"]["total_size"] == 80
    assert index["weight_map"]["4"] == "model-00003-of-00003.safetensors"
    state = StateFolder(tmp_path)
    assert all(state[str(i)].tolist() == [i] * 4 for i in range(5))
    assert state.shapes["2"] == (4,)


def test_one_file_has_no_index(tmp_path):
    write_shards(tmp_path, [("a", 8)], lambda names: {"a": torch.ones(2)}, 1000)
    assert [path.name for path in tmp_path.iterdir()] == [SINGLE]
    assert load_file(tmp_path / SINGLE)["a"].tolist() == [1.0, 1.0]
    assert (tmp_path / SINGLE).stat().st_mode & 0o777 == tmp_path.stat().st_mode & 0o666


def test_a_folder_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "deep" / "model"
    with new_folder(target, overwrite=False) as folder:
        (folder / "config.json").write_text("{}")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["config.json"]
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def test_nothing_is_left_of_a_failed_one(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "config.json").write_text("old")

    def write_half() -> None:
        with new_folder(target, overwrite=True) as folder:
            (folder / "config.json").write_text("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert (target / "config.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("fault", ["a file above", "the name is too long", "a file below"])
def test_an_error_names_the_folder_and_not_what_it_is_called_until_it_is_whole(tmp_path, fault):
    target = tmp_path / ("a" * 250 if fault == "the name is too long" else "file/model")
    (tmp_path / "file").mkdir() if fault == "a file below" else (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError) as caught, new_folder(target, overwrite=False) as folder:  # noqa: PT011, PT012
        (folder / "config.json").mkdir()
        (folder / "config.json").write_text("")
    assert caught.value.filename == str(target / "config.json" if fault == "a file below" else target)
    assert caught.value.filename2 is None
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("moment", ["while writing", "between the renames"])
def test_what_a_killed_one_leaves_is_cleared_up_by_the_next(tmp_path, moment):
    target = tmp_path / "model"
    with new_folder(target, overwrite=False) as folder:
        (folder / "config.json").write_text("old")
    program = f"""
import os, signal, sys
from pathlib import Path
from steel_megatron.huggingface.folder import new_folder
os_rename = os.rename
def rename(*names, **options):
    os_rename(*names, **options)
    os.kill(os.getpid(), signal.SIGKILL)
os.rename = rename
with new_folder(Path({str(target)!r}), overwrite=True) as folder:
    (folder / "config.json").write_text("half")
    if {moment == "while writing"}:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(ConfigError, match="--overwrite"), new_folder(target, overwrite=False):
        pass
    assert (target / "config.json").read_text() == "old"
    with new_folder(target, overwrite=True) as folder:
        (folder / "config.json").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (target / "config.json").read_text() == "new"


def test_a_folder_is_replaced_only_if_asked_and_only_if_it_is_a_model(tmp_path):
    target = tmp_path / "home"
    target.mkdir()
    with new_folder(target, overwrite=False) as folder:  # empty: nothing is lost
        (folder / "config.json").write_text("1")
    with pytest.raises(ConfigError, match="--overwrite"), new_folder(target, overwrite=False):
        pass
    with new_folder(target, overwrite=True) as folder:
        (folder / "config.json").write_text("2")
    assert (target / "config.json").read_text() == "2"
    (target / "config.json").unlink()
    (target / "letters.txt").write_text("dear")
    with pytest.raises(ConfigError, match=r"no config\.json"), new_folder(target, overwrite=True):
        pass
    assert (target / "letters.txt").read_text() == "dear"


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no config\.json"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama", "hidden_size": ')
    with pytest.raises(ConfigError, match=r"config\.json"):
        read_config(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        StateFolder(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match=r"only pytorch_model\.bin"):
        StateFolder(tmp_path)
    save_file({"a": torch.ones(100)}, tmp_path / SINGLE)
    content = (tmp_path / SINGLE).read_bytes()
    (tmp_path / SINGLE).write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match=rf"{SINGLE} cannot be read"):
        StateFolder(tmp_path)
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "model-00001-of-00001.safetensors"}}))
    with pytest.raises(CheckpointError, match="lacks model-00001-of-00001"):
        StateFolder(tmp_path)
    (tmp_path / INDEX).write_text("[]")
    with pytest.raises(CheckpointError, match=r"index\.json is damaged"):
        StateFolder(tmp_path)


@pytest.mark.parametrize(
    ("dtypes", "widest"),
    [
        ([torch.float16], torch.float16),
        ([torch.bfloat16, torch.uint8], torch.bfloat16),
        ([torch.bfloat16, torch.float16], torch.float32),
        ([torch.bfloat16, torch.float32], torch.float32),
    ],
)
def test_the_type_is_the_widest_of_the_files(tmp_path, dtypes, widest):
    save_file({str(dtype): torch.ones(2).to(dtype) for dtype in dtypes}, tmp_path / SINGLE)
    assert StateFolder(tmp_path).dtype == widest


def test_quantised_weights_are_refused(tmp_path):
    save_file({"a": torch.ones(2, dtype=torch.int8)}, tmp_path / SINGLE)
    with pytest.raises(CheckpointError, match="types I8"):
        StateFolder(tmp_path)
