"""What a run is built of, and how it takes up a checkpoint: all of it, the weights alone, in another precision."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers.built_run import built
from helpers.tiny_run import run_config, train
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointError
from steel_megatron.model.slices import model_slices
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import TensorSlice, parameters_with_spec
from steel_megatron.training.startup.setup import Components, as_stored, build_components, load_start
from steel_megatron.training.startup.start import Start


def slice_of(dtype: torch.dtype) -> TensorSlice:
    return TensorSlice(torch.zeros(2, dtype=dtype), (2,), (0,))


@pytest.mark.parametrize(
    ("asked", "dtype", "stored", "read"),
    [
        ("model.a", torch.bfloat16, {"model.a", "optimizer.master.a"}, "model.a"),
        ("model.a", torch.float32, {"model.a", "optimizer.master.a"}, "optimizer.master.a"),
        ("model.a", torch.float32, {"model.a"}, "model.a"),
        ("optimizer.master.a", torch.float32, {"model.a"}, "model.a"),
        ("optimizer.master.a", torch.float32, {"model.a", "optimizer.master.a"}, "optimizer.master.a"),
        ("optimizer.exp_avg.a", torch.float32, {"model.a"}, "optimizer.exp_avg.a"),
    ],
)
def test_the_most_exact_of_what_is_stored_is_read(asked, dtype, stored, read) -> None:
    assert list(as_stored({asked: slice_of(dtype)}, stored)) == [read]


def test_a_master_and_its_weight_may_be_read_from_one_tensor() -> None:
    blocks = {"model.a": slice_of(torch.bfloat16), "optimizer.master.a": slice_of(torch.float32)}
    assert as_stored(blocks, {"model.a"}) == {"model.a": list(blocks.values())}


def weights(components: Components) -> dict[str, torch.Tensor]:
    return {name: block.tensor.detach().float().clone() for name, block in model_slices(components.chunks).items()}


def test_micro_batches_are_those_of_each_rank(tmp_path: Path) -> None:
    with built(tmp_path, micro_batch_size=2) as (_, components):
        assert components.micro_batches(8) == 4
        assert components.train_data.micro_batch_size == 2
        assert components.valid_data is None


def test_the_seed_makes_the_weights_and_no_other_random_number(tmp_path: Path) -> None:
    def state() -> tuple[Any, ...]:
        return (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[index]

    before = state()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(found))
        with built(tmp_path, seed=seed) as (_, components):
            found.append(weights(components))
    assert all(torch.equal(found[0][name], value) for name, value in found[1].items())
    assert not torch.equal(found[0]["model.embedding.weight"], found[2]["model.embedding.weight"])
    assert state()[:2] == before[:2]


def test_weights_that_a_checkpoint_brings_are_zero_before(tmp_path: Path) -> None:
    """The vocabulary's padding is in none."""
    with built(tmp_path) as (config, components):
        datasets, batch_size = components.datasets, components.batch_size
        again = build_components(config, Grid.single(), batch_size, datasets, initialise=False)
        assert not any(parameter.any() for parameter in parameters_with_spec(again.chunks))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 6 steps in bf16 with masters in fp32."""
    folder = tmp_path_factory.mktemp("saved")
    train(run_config(folder, eval_iters=0, train_iters=6, precision="bf16", hidden_dropout=0.1, split="100,0,0"))
    return folder / "run"


def started(saved: Path, **how: Any) -> Start:
    store = CheckpointStore(saved)
    return Start(store, 6, facts=store.facts(6), **how)


def moments(components: Components) -> bool:
    return any(bool(block.tensor.any()) for name, block in components.optimizer.slices().items() if "exp_avg" in name)


@pytest.mark.parametrize(
    ("knobs", "how", "with_moments"),
    [
        ({}, {}, True),
        ({"no_load_optim": True}, {}, False),
        ({}, {"weights_only": True}, False),
        ({"precision": "fp32"}, {}, True),
    ],
    ids=["all", "without the optimizer", "weights alone", "in fp32"],
)
def test_what_is_taken_up(
    tmp_path: Path, saved: Path, knobs: dict[str, Any], how: dict[str, Any], with_moments
) -> None:
    store = CheckpointStore(saved)
    masters = dict(store.read_tensors(6, [name for name in store.tensors(6) if ".master." in name]))
    given = {"precision": "bf16", "hidden_dropout": 0.1, "train_iters": 8, "data_path": [str(saved.parent / "data")]}
    with built(tmp_path, **{**given, **knobs}) as (config, components):
        load_start(config, components, started(saved, **how))
        assert moments(components) == with_moments
        exact = knobs.get("precision") == "fp32"
        for name, found in weights(components).items():
            master = masters[name.replace("model.", "optimizer.master.", 1)]
            assert torch.equal(found, master if exact else master.bfloat16().float())
        for name, block in components.optimizer.slices().items():
            if ".master." in name:  # of weights alone they are made again
                expected = masters[name] if with_moments else masters[name].bfloat16().float()
                assert torch.equal(block.tensor, expected.view_as(block.tensor))


@pytest.mark.parametrize(
    ("knobs", "how", "taken"),
    [({}, {}, True), ({"no_load_rng": True}, {}, False), ({}, {"weights_only": True}, False)],
    ids=["all", "without", "weights alone"],
)
def test_random_states_are_taken_up_unless_not(tmp_path, saved, knobs, how, taken) -> None:
    given = {"precision": "bf16", "hidden_dropout": 0.1, "train_iters": 8, "data_path": [str(saved.parent / "data")]}
    with built(tmp_path, **{**given, **knobs}) as (config, components):
        torch.manual_seed(1234567)
        own = torch.get_rng_state()
        load_start(config, components, started(saved, **how))
        assert torch.equal(torch.get_rng_state(), own) != taken


def test_the_state_of_another_rule_is_refused_and_names_of_one_are_one(tmp_path: Path, saved: Path) -> None:
    given = {"precision": "bf16", "hidden_dropout": 0.1, "train_iters": 8, "data_path": [str(saved.parent / "data")]}
    start = started(saved)
    with built(tmp_path, **given, optimizer="adamw") as (config, components):
        load_start(config, components, start)  # adam and adamw are one rule
        start.facts["config"]["optimizer"]["optimizer"] = "mine.py:Lion {beta: 0.9}"
        with pytest.raises(CheckpointError, match=r"holds the state of mine.py:Lion \{beta: 0.9\}") as caught:
            load_start(config, components, start)
    assert caught.value.fix.startswith("--optimizer 'mine.py:Lion {beta: 0.9}'")


def test_a_start_from_nothing_loads_nothing(tmp_path: Path) -> None:
    with built(tmp_path) as (config, components):
        before = weights(components)
        load_start(config, components, Start())
        assert all(torch.equal(value, before[name]) for name, value in weights(components).items())


def test_data_that_has_changed_behind_a_checkpoint_is_refused(tmp_path: Path, saved: Path) -> None:
    given = {"precision": "bf16", "hidden_dropout": 0.1, "train_iters": 8, "seq_length": 32}
    with (
        built(tmp_path, **given, data_path=[str(saved.parent / "data")]) as (config, components),
        pytest.raises(CheckpointError, match="seq-length was 16, is 32"),
    ):
        load_start(config, components, started(saved))
