"""What the check of an export lets pass, and what it does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers.gpt_of import gpt_of
from helpers.saved_run import save_run
from helpers.tiny_models import tiny_hf_model
from steel_megatron.config import CheckpointError
from steel_megatron.huggingface.check import check_export
from steel_megatron.huggingface.export import export_checkpoint
from steel_megatron.huggingface.folder import SINGLE

NORM = "model.norm.weight"


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A folder whose ``out`` was exported from ``run``."""
    save_run(gpt_of(tiny_hf_model("llama")), tmp_path / "run")
    export_checkpoint(tmp_path / "run", tmp_path / "out")
    return tmp_path


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / SINGLE)
    change(tensors)
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})


def change_options(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def check(folder: Path, **more: float) -> float:
    return check_export(folder / "run", 10, folder / "out", **more)


def test_the_largest_difference_is_told(exported: Path) -> None:
    exact = check(exported)
    assert 0 <= exact < 1e-4
    change_tensors(exported / "out", lambda tensors: tensors[NORM][0].add_(0.01))
    assert exact < check(exported, tolerance=1.0) < 1.0
    with pytest.raises(CheckpointError, match="differ from ours by") as caught:
        check(exported)
    assert "within 0.0001" in caught.value.rule


def test_the_tolerance_grows_with_logits_above_1_and_not_below(exported: Path) -> None:
    """A head of a thousandth, on both sides, makes every difference a thousandth: no reason to refuse less."""
    change_tensors(exported / "out", lambda tensors: tensors[NORM][0].add_(0.01))
    difference = check(exported, tolerance=1.0)
    with pytest.raises(CheckpointError):
        check(exported, tolerance=difference / 20)
    check(exported, tolerance=difference / 2)  # the largest logit lies between 2 and 20
    quiet = gpt_of(tiny_hf_model("llama"))
    with torch.no_grad():
        quiet.head.own.weight.mul_(1e-3)
    save_run(quiet, exported / "quiet")
    export_checkpoint(exported / "quiet", exported / "small")
    change_tensors(exported / "small", lambda tensors: tensors[NORM][0].add_(0.01))
    found = check_export(exported / "quiet", 10, exported / "small", tolerance=difference / 900)
    assert found == pytest.approx(difference / 1000, rel=1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"rms_norm_eps": 0.5}, "differ from ours by"), ({"num_hidden_layers": 3}, "missing_keys model.layers.2.")],
)
def test_an_option_that_was_changed_is_noticed(exported: Path, changes: dict[str, object], message: str) -> None:
    change_options(exported / "out", **changes)
    with pytest.raises(CheckpointError, match=message):
        check(exported)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({NORM: torch.full((48,), float("nan"))}, "by nan"),
        ({NORM: torch.ones(47)}, r"mismatched_keys .*model\.norm\.weight"),
        ({"model.extra.weight": torch.ones(3)}, r"unexpected_keys model\.extra\.weight"),
    ],
)
def test_a_wrong_tensor_is_told_as_an_error_of_ours(
    exported: Path, tensors: dict[str, torch.Tensor], message: str
) -> None:
    change_tensors(exported / "out", lambda there: there.update(tensors))
    with pytest.raises(CheckpointError, match=message):
        check(exported)


def test_weights_are_rounded_as_the_folder_has_them(tmp_path: Path) -> None:
    """fp32 masters against a folder in fp16: equal only if both are rounded; and a text shorter than the probe's 64."""
    model = gpt_of(tiny_hf_model("llama", max_position_embeddings=16), torch.bfloat16)
    save_run(model, tmp_path / "run", masters=True)
    for precision in ("fp16", "bf16", "fp32"):
        export_checkpoint(tmp_path / "run", tmp_path / precision, precision=precision)
        assert check_export(tmp_path / "run", 10, tmp_path / precision) < 1e-4
