"""The loss is a mean over the tokens that count in the global batch, whatever each micro-batch has of them."""

from __future__ import annotations

import numpy as np
import pytest

from helpers.tiny_run import VOCABULARY, run_config, train
from helpers.token_files import write_manifest
from steel_megatron.config import check_run, load_run_config
from steel_megatron.samples.build import build_datasets
from steel_megatron.samples.sources import TokenizerFacts
from steel_megatron.tokens.indexed import IndexedWriter
from steel_megatron.training.output.metrics_rows import read_metrics

EOD = VOCABULARY - 1


def test_uneven_masks_and_empty_micro_batches(tmp_path):
    """Documents without text are nothing but ends, after which no loss counts: whole samples are masked."""
    random = np.random.default_rng(1)
    documents = [
        np.full(40, EOD) if number % 3 == 0 else random.integers(0, EOD, random.integers(5, 60))
        for number in range(200)
    ]
    with IndexedWriter(tmp_path / "gaps", "uint16") as writer:
        for document in documents:
            writer.add_document(document)
    facts = TokenizerFacts("made up", VOCABULARY, EOD)
    write_manifest(tmp_path / "gaps", facts, True, "uint16", len(documents), sum(map(len, documents)), EOD)
    config = run_config(
        tmp_path,
        data_path=[str(tmp_path / "gaps")],
        eod_mask_loss=True,
        split="100,0,0",
        eval_iters=0,
        train_iters=4,
        precision="fp32",
        z_loss_coeff=0.01,
    )
    train(config, "--save", str(tmp_path / "one"), "--micro-batch-size", "4")
    layout = ["--pipeline-model-parallel-size", "2", "--micro-batch-size", "1"]
    train(config, "--save", str(tmp_path / "many"), *layout, processes=4)
    one, many = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "many"))
    loaded = check_run(load_run_config(config))
    with build_datasets(loaded, total_samples=32).train as data:
        counts = [int(mask.sum()) for batch in data.global_batch(0, 32) for mask in batch.loss_mask_BS]
    assert 0 in counts, "some micro-batches of the second run have no token that counts"
    for step, (left, right) in enumerate(zip(one, many, strict=True)):
        assert left["loss_tokens"] == right["loss_tokens"] == sum(counts[8 * step : 8 * step + 8])
        assert right["loss"] == pytest.approx(left["loss"], rel=1e-5)
        assert right["z_loss"] == pytest.approx(left["z_loss"], rel=1e-5)
        assert right["grad_norm"] == pytest.approx(left["grad_norm"], rel=1e-4)
