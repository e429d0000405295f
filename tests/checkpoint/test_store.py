"""Saving, finding, reading and keeping checkpoints."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.processes import run_processes
from helpers.small_checkpoints import SHAPES, assert_holds, blocks_at, save_steps, value_of
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointError
from steel_megatron.parallel.parameter import TensorSlice


def test_what_is_saved_is_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    store = save_steps(tmp_path / "deep" / "run", 100, 20, 12345678)
    assert store.steps() == [20, 100, 12345678]
    assert store.newest() == 12345678
    assert sorted(os.listdir(store.root)) == ["step_0000020", "step_0000100", "step_12345678"]
    for step in store.steps():
        assert_holds(store, step)
        assert store.random_state(step) == f"random {step}".encode()
    assert "saved" in caplog.text
    assert "GB/s" in caplog.text
    assert store.tensors(20) == {name: (shape, torch.float32) for name, shape in SHAPES.items()}


def test_the_marker_lists_every_file_with_size_and_hash(tmp_path: Path) -> None:
    folder = save_steps(tmp_path, 1).folder(1)
    records = json.loads((folder / "complete.json").read_text())["files"]
    assert records.keys() == {path.name for path in folder.iterdir()} - {"complete.json"}
    assert all(record["bytes"] == (folder / name).stat().st_size for name, record in records.items())
    assert all(len(record["xxh3"]) == 32 for record in records.values())


def test_load_fills_the_blocks_in_place(tmp_path: Path) -> None:
    store = save_steps(tmp_path, 3)
    memory = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    store.load(3, {name: TensorSlice(tensor, SHAPES[name], (0,) * tensor.dim()) for name, tensor in memory.items()})
    for name, tensor in memory.items():
        assert torch.equal(tensor, value_of(name, 3))


def test_the_weights_alone_are_a_whole_model(tmp_path: Path) -> None:
    store = save_steps(tmp_path, 3)
    into = {name: block for name, block in blocks_at(0).items() if name.startswith("model.")}
    store.load(3, into)
    assert torch.equal(into["model.w"].tensor, value_of("model.w", 3))


def misfit(store: CheckpointStore, into: dict[str, TensorSlice], **options: bool) -> str:
    with pytest.raises(CheckpointError, match="does not fit the model") as caught:
        store.load(1, into, **options)
    return str(caught.value)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    store = save_steps(tmp_path, 1)
    extra = blocks_at(1) | {"model.gate": TensorSlice(torch.zeros(2), (2,), (0,))}
    assert "model.gate is missing" in misfit(store, extra)
    other = blocks_at(1) | {"model.w": TensorSlice(torch.zeros(8, 3), (8, 12), (0, 3))}
    assert "model.w is (8, 6), the model needs (8, 12)" in misfit(store, other)
    fewer = {name: block for name, block in blocks_at(1).items() if not name.endswith(".b")}
    assert "the model has no b" in misfit(store, fewer)
    store.load(1, fewer, whole=False)
    many = {f"model.{n}": TensorSlice(torch.zeros(2), (2,), (0,)) for n in range(20)}
    text = misfit(store, many)
    assert "and 17 more" in text  # 20 missing and 2 left over, 5 named
    assert "facts.json" in text


def test_reading_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    store = save_steps(tmp_path, 1)
    with pytest.raises(CheckpointError, match=r"has no tensor model\.x"):
        list(store.read_tensors(1, ["model.w", "model.x"]))
    with pytest.raises(CheckpointError, match=r"step_0000002.*cannot be read"):
        store.load(2, blocks_at(1))
    with pytest.raises(CheckpointError, match=r"step_0000002.*cannot be read"):
        store.facts(2)
    assert store.verify(2) == ["complete.json is missing"]


def test_a_folder_without_checkpoints(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "none").newest() is None
    assert "is not a folder" in CheckpointStore(tmp_path / "none").describe()
    (tmp_path / "step_0000007").mkdir()
    (tmp_path / "step_7").mkdir()
    (tmp_path / "tensorboard").mkdir()
    store = CheckpointStore(tmp_path)
    assert store.newest() is None
    text = store.describe()
    assert "steps none" in text
    assert "without complete.json: step_0000007" in text
    store = save_steps(tmp_path, 9, 12)
    assert "holds checkpoints of steps 9, 12" in store.describe()


def test_a_step_is_saved_again_over_the_old_one(tmp_path: Path) -> None:
    store = save_steps(tmp_path, 1)
    store.save(1, {"model.other": TensorSlice(torch.ones(3), (3,), (0,))}, {"again": True})
    assert store.facts(1) == {"again": True}
    assert store.tensors(1).keys() == {"model.other"}
    assert store.verify(1) == []
    assert os.listdir(tmp_path) == ["step_0000001"]


def test_what_killed_saves_left_is_removed_by_the_next(tmp_path: Path) -> None:
    for name in (".partial_step_0000005", ".partial_replaced_step_0000004"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__0_0.distcp").write_bytes(b"half")
    (tmp_path / "step_0000003").mkdir()  # of another program: without a marker, left alone
    store = save_steps(tmp_path, 6)
    assert sorted(os.listdir(tmp_path)) == ["step_0000003", "step_0000006"]
    assert store.steps() == [6]


@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=12, unique=True),
    st.integers(0, 5) | st.none(),
    st.sampled_from([None, 0, 5, 12]),
)
def test_the_newest_and_the_multiples_are_kept(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], retain: int | None, interval: int | None
) -> None:
    store = CheckpointStore(tmp_path_factory.mktemp("prune"))
    for step in steps:
        store.folder(step).mkdir()
        (store.folder(step) / "complete.json").write_text("{}")
        (store.folder(step) / "data").write_text("x")
    store.prune(retain, interval)
    newest = sorted(steps)[-retain:] if retain else sorted(steps)
    kept = {step for step in steps if step in newest or (interval and step % interval == 0)}
    assert store.steps() == sorted(kept)
    assert len(os.listdir(store.root)) == len(kept)


def test_a_checkpoint_that_cannot_be_removed_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = save_steps(tmp_path, 1, 2, 3)
    store.folder(1).rename(tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", store.folder(1))  # rmtree refuses to follow a link
    store.prune(1)
    assert "step_0000001 is not removed" in caplog.text
    assert store.newest() == 3
    assert 2 not in store.steps()


def save_and_look(root: Path) -> tuple[int | None, bytes | None]:
    store = CheckpointStore(root)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    for step in (1, 2):
        store.save(step, blocks_at(step, rank, ranks), {"step": step}, f"{step} of {rank}".encode())
    into = {
        name: TensorSlice(torch.zeros_like(b.tensor), b.global_shape, b.offset)
        for name, b in blocks_at(0, rank, ranks).items()
    }
    store.load(2, into)
    for name, block in blocks_at(2, rank, ranks).items():
        assert torch.equal(block.tensor, into[name].tensor)
    store.prune(1)
    return store.newest(), store.random_state(2)


def load_on_others(root: Path) -> bytes | None:
    store = CheckpointStore(root)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    into = blocks_at(0, rank, ranks)
    for block in into.values():
        block.tensor.zero_()
    step = store.newest()
    assert step is not None
    store.load(step, into)
    for name, block in blocks_at(step, rank, ranks).items():
        assert torch.equal(block.tensor, into[name].tensor)
    return store.random_state(step)


def test_ranks_save_together_and_others_load(tmp_path: Path) -> None:
    assert run_processes(save_and_look, 3, tmp_path) == [(2, f"2 of {rank}".encode()) for rank in range(3)]
    assert os.listdir(tmp_path) == ["step_0000002"]
    assert_holds(CheckpointStore(tmp_path), 2)
    assert CheckpointStore(tmp_path).random_state(2) is None
    assert run_processes(load_on_others, 2, tmp_path) == [None, None]


def test_what_was_just_written_stays_beside_checkpoints_of_later_steps(tmp_path: Path) -> None:
    store = save_steps(tmp_path, 2, 4, 6, 8, 9)
    store.prune(1, saved=6)
    assert store.steps() == [6, 8, 9]
    store.prune(1)
    assert store.steps() == [9]


def test_a_folder_that_cannot_be_listed_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An I/O error must not look like a run without checkpoints, which would be begun anew."""
    store = save_steps(tmp_path, 2)

    def fail(path: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(os, "listdir", fail)
    with pytest.raises(CheckpointError, match="Input/output error"):
        store.newest()
    monkeypatch.undo()
    (tmp_path / "step_0000003").mkdir()
    (tmp_path / "step_0000004").write_text("a file")
    (tmp_path / "step_00000005").mkdir()  # another spelling of 5 is not a name that is written
    assert (store.steps(), store.named_steps()) == ([2], [2, 3, 4])
    step, faults = store.newest_and_faults()
    assert (step, list(faults)) == (2, [4, 3])
