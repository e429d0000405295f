"""Loss and tokens by source, against each sample's own loss and on every layout."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from helpers.tiny_run import run_config, train, write_tokens
from steel_megatron.training.output.metrics_rows import read_metrics
from steel_megatron.training.source_sums import SourceSums, source_losses


def batch(ids: list[int], counts: list[int]) -> SimpleNamespace:
    mask = torch.zeros(len(ids), 8, dtype=torch.bool)
    for row, count in enumerate(counts):
        mask[row, :count] = True
    return SimpleNamespace(source_ids_B=torch.tensor(ids), loss_mask_BS=mask)


def test_each_sample_counts_for_its_source() -> None:
    sums = SourceSums(3, torch.device("cpu"))
    sums.add(torch.tensor([[2.0, 3.0], [0.5, 0.25]]), batch([1, 0], [4, 5]))  # type: ignore[arg-type]  # what is read of a batch
    sums.add(torch.tensor([[5.0], [0.0]]), batch([1], [8]))  # type: ignore[arg-type]  # as above
    assert sums.sums_2K.tolist() == [[3.0, 7.0, 0.0], [5.0, 12.0, 0.0]]
    assert sums.z_loss == 0.75
    assert source_losses(sums.sums_2K.flatten().tolist(), ["a", "b", "c"]) == {"a": 0.6, "b": 7 / 12}


def test_a_loss_that_is_not_finite_stays_with_its_source() -> None:
    sums = SourceSums(2, torch.device("cpu"))
    sums.add(torch.tensor([[float("nan"), 3.0], [0.0, 0.0]]), batch([0, 1], [4, 4]))  # type: ignore[arg-type]  # as above
    assert sums.sums_2K[0, 1] == 3.0


def two_sources(folder: Path) -> Path:
    """A run over two sources, the second of which comes in with the second step."""
    for seed, name in enumerate(("wiki", "web")):
        write_tokens(folder / name, seed=seed)
    phases = [
        {"sources": {"wiki": {"path": "wiki", "weight": 1}}},
        {"from": 8, "sources": {"wiki": 1, "web": {"path": "web", "weight": 1}}},
    ]
    (folder / "phases.yaml").write_text(yaml.safe_dump(phases))
    return run_config(
        folder,
        data_path=None,
        phases=str(folder / "phases.yaml"),
        train_iters=3,
        eval_interval=3,
        precision="fp32",
        tensorboard=True,
        save_interval=100,
    )


def test_metrics_and_tensorboard_have_each_source(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(two_sources(tmp_path))
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["source_tokens"] for row in rows] == [
        {"web": 0, "wiki": 128},
        {"web": 64, "wiki": 192},
        {"web": 128, "wiki": 256},
    ]
    assert rows[0]["source_loss"] == pytest.approx({"wiki": rows[0]["loss"]}, rel=1e-6)
    for row in rows[1:]:
        assert sum(row["source_loss"].values()) / 2 == pytest.approx(row["loss"], rel=1e-6)
        assert row["source_loss"]["web"] != row["source_loss"]["wiki"]
    assert rows[2]["valid_source_loss"] == pytest.approx({"wiki": rows[2]["valid_loss"]}, rel=1e-6)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("source_tokens/web")] == [0, 64, 128]
    assert [event.step for event in events.Scalars("source_loss/web")] == [2, 3]


@pytest.mark.parametrize(
    ("flags", "processes"),
    [
        pytest.param((), 2, id="dp2", marks=pytest.mark.slow),
        pytest.param(("--tensor-model-parallel-size", "2", "--pipeline-model-parallel-size", "2"), 4, id="tp2-pp2"),
    ],
)
def test_every_layout_has_the_same_losses(tmp_path: Path, flags: tuple[str, ...], processes: int) -> None:
    config = two_sources(tmp_path)
    train(config, "--save", str(tmp_path / "one"), "--no-tensorboard")
    train(config, "--save", str(tmp_path / "many"), "--no-tensorboard", *flags, processes=processes)
    one, many = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "many"))
    for left, right in zip(one, many, strict=True):
        assert right["source_loss"] == pytest.approx(left["source_loss"], rel=1e-5)
        assert right["source_tokens"] == left["source_tokens"]
        assert right.get("valid_source_loss", {}) == pytest.approx(left.get("valid_source_loss", {}), rel=1e-5)
