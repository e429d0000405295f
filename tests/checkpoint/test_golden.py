"""A run that an earlier version left (golden/run/make.py) is read, and goes on as that version went on with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.golden_run import GOES_ON_TO, LAYOUTS, SAVED_AT, arithmetic, golden_run, hashes, rows
from helpers.tiny_run import train
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import load_run_config
from steel_megatron.training.startup.branches import BACK, Branches

ASIDE = Path("run/set_aside/after_step_0000002")


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    return golden_run(tmp_path)


def test_every_tensor_of_a_checkpoint_is_read(golden: dict[str, Any]) -> None:
    store = CheckpointStore(Path("run"))
    assert (store.steps(), store.newest(), store.verify(SAVED_AT)) == ([SAVED_AT], SAVED_AT, [])
    assert hashes("run", SAVED_AT) == golden["saved"]
    facts = store.facts(SAVED_AT)
    assert facts["state"] == {"step": SAVED_AT, "consumed_samples": 32, "consumed_tokens": 512}
    assert facts["layout"] == {"world": 4, "tp": 2, "pp": 1, "dp": 2}


def test_what_was_set_aside_is_a_run_still(golden: dict[str, Any]) -> None:
    (entry,) = Branches(Path("run")).entries()
    assert (entry.kind, entry.step, entry.name, entry.finished) == (BACK, 2, "again", True)
    assert entry.folder is not None
    assert Path("run", entry.folder) == ASIDE
    store = CheckpointStore(ASIDE)
    assert (store.steps(), store.verify(3)) == ([3], [])
    assert [row["step"] for row in rows(str(ASIDE), 0)] == [1, 2, 3]
    assert load_run_config(ASIDE / "config.yaml").training.exit_interval == 3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_goes_on_as_it_did(golden: dict[str, Any], layout: str) -> None:
    """Bitwise where sums are added in the order of the machine it was made on; elsewhere the same to rounding."""
    processes, flags = LAYOUTS[layout]
    config = Path("run/config.yaml")
    train(config, "--load", "run", "--save", layout, "--exit-interval", str(GOES_ON_TO), *flags, processes=processes)
    then, now = golden["layouts"][layout], {"rows": rows(layout, SAVED_AT), "tensors": hashes(layout, GOES_ON_TO)}
    if arithmetic() == golden["arithmetic"]:
        assert now == then
        return
    assert {name: value.rsplit(" ", 1)[0] for name, value in now["tensors"].items()} == {
        name: value.rsplit(" ", 1)[0] for name, value in then["tensors"].items()
    }
    for one, other in zip(now["rows"], then["rows"], strict=True):
        for key, value in other.items():
            wanted = value if value is None or key == "step" else pytest.approx(value, rel=2e-3)
            assert one[key] == wanted, (key, one, other)


def test_a_run_goes_on_in_its_own_folder(golden: dict[str, Any]) -> None:
    """The branch that it took is not taken again, and its curve is continued."""
    flags = ["--ckpt-step", "2", "--branch", "again", "--exit-interval", "5"]
    said = train(Path("run.yaml"), *flags, *LAYOUTS["single"][1])
    assert f"continuing run, step {SAVED_AT}" in said
    assert [row["step"] for row in rows("run", 0)] == [1, 2, 3, 4, 5]
    assert len(json.loads(Path("run/branches.json").read_text())) == 1
    assert CheckpointStore(Path("run")).steps() == [SAVED_AT, 5]


def test_weights_alone_begin_another_run(golden: dict[str, Any]) -> None:
    flags = ["--pretrained-checkpoint", "run", "--save", "other", "--exit-interval", "1", "--lr", "0", "--min-lr", "0"]
    train(Path("run.yaml"), *flags, "--precision", "fp32", *LAYOUTS["single"][1])
    name = "model.blocks.1.attention.query.weight"
    ((_, old),) = CheckpointStore(Path("run")).read_tensors(SAVED_AT, [name])
    ((_, new),) = CheckpointStore(Path("other")).read_tensors(1, [name])
    assert torch.equal(new.to(old.dtype), old)
