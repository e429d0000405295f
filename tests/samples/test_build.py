from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from helpers.token_files import write_dataset
from steel_megatron.config import CheckpointError, ConfigError, DataError, RunConfig
from steel_megatron.samples.build import Datasets, build_datasets
from steel_megatron.samples.mixing.phases import check_resume
from steel_megatron.samples.sources import TokenizerFacts

LENGTH = 8


def configured(**knobs: object) -> RunConfig:
    defaults = {"seq_length": LENGTH, "micro_batch_size": 2, "global_batch_size": 4, "eval_iters": 2, "seed": 7}
    return RunConfig().replace(**{**defaults, **knobs})


def build(config: RunConfig, total_samples: int = 100, **more: object) -> Datasets:
    return build_datasets(config, total_samples=total_samples, **more)  # type: ignore[arg-type]


def sample_rows(datasets: Datasets, which: str, first: int, size: int) -> list[list[int]]:
    loader = getattr(datasets, which)
    return [row for batch in loader.global_batch(first, size) for row in batch.tokens_BS.tolist()]


@pytest.fixture
def wiki(tmp_path: Path) -> str:
    return write_dataset(tmp_path / "wiki", documents=100, length=20, first_token=0)


@pytest.fixture
def web(tmp_path: Path) -> str:
    return write_dataset(tmp_path / "web", documents=50, length=30, first_token=5000)


def test_split_gives_each_document_to_one_use(wiki: str) -> None:
    datasets = build(configured(data_path=[wiki], split="80,15,5"))
    assert datasets.train.reader.order.windows == {"wiki": (80 * 20 - 1) // LENGTH}
    used = {}
    for which, size in (("train", 199), ("valid", 37), ("test", 12)):
        loader = getattr(datasets, which)
        tokens = [loader.reader.read(n, 1).tokens_BS.tolist()[0] for n in range(size)]
        used[which] = {token // 20 for row in tokens for token in row}  # documents: tokens count up
    assert used["train"] == set(range(80))
    assert used["valid"] == set(range(80, 95))
    assert used["test"] == set(range(95, 100))
    datasets.close()


def test_validation_is_the_same_every_time_and_on_every_layout(wiki: str, web: str) -> None:
    config = configured(data_path=["1", wiki, "3", web], split="50,50")
    alone = build(config)
    first = sample_rows(alone, "valid", 0, 8)
    assert sample_rows(alone, "valid", 0, 8) == first
    ranks = [build(config, dp_rank=rank, dp_size=2, consumed_samples=40) for rank in range(2)]
    assert sum((sample_rows(rank, "valid", 0, 8) for rank in ranks), []) == first  # noqa: RUF017
    assert sum((sample_rows(rank, "train", 40, 8) for rank in ranks), []) == sample_rows(alone, "train", 40, 8)  # noqa: RUF017


def test_data_in_another_folder_gives_the_same_run(tmp_path: Path) -> None:
    runs = []
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        paths = [
            write_dataset(tmp_path / folder / name, documents=40, length=20, first_token=start)
            for name, start in (("a", 0), ("b", 5000))
        ]
        runs.append(build(configured(data_path=["0.3", paths[0], "0.7", paths[1]])))
    assert sample_rows(runs[0], "train", 0, 40) == sample_rows(runs[1], "train", 0, 40)
    check_resume(runs[0].phases, runs[1].phases, consumed=40)


def test_without_weights_sources_count_by_their_windows(wiki: str, web: str) -> None:
    datasets = build(configured(data_path=[wiki, web], split="100", eval_iters=0))
    windows = datasets.train.reader.order.windows
    counts = datasets.train.reader.counts(sum(windows.values()))
    assert counts == windows
    assert datasets.valid is None
    assert datasets.test is None


def test_train_and_valid_data_apart(wiki: str, web: str) -> None:
    datasets = build(configured(train_data_path=[wiki], valid_data_path=[web]))
    assert datasets.train.reader.order.windows == {"wiki": (2000 - 1) // LENGTH}
    assert datasets.valid.reader.order.windows == {"web": (1500 - 1) // LENGTH}
    assert all(token >= 5000 for row in sample_rows(datasets, "valid", 0, 8) for token in row)


def phases_file(folder: Path, text: str) -> str:
    path = folder / "phases.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_phases_and_resume(tmp_path: Path, wiki: str, web: str) -> None:
    first = phases_file(tmp_path, "- {sources: {wiki: {path: wiki, weight: 1}}}")
    before = build(configured(phases=first))
    saved = json.loads(json.dumps(before.phases))
    old = sample_rows(before, "train", 0, 40)
    second = phases_file(
        tmp_path,
        """
        - {sources: {wiki: {path: wiki, weight: 1}}}
        - {from: 24, sources: {wiki: 1, web: {path: web, weight: 3}}}
        """,
    )
    after = build(configured(phases=second))
    check_resume(saved, after.phases, consumed=24)
    new = sample_rows(after, "train", 0, 40)
    assert new[:24] == old[:24]
    assert sum(row[0] >= 5000 for row in new[24:]) == 12
    with pytest.raises(CheckpointError, match="phase 2"):
        check_resume(saved, after.phases, consumed=28)
    with pytest.raises(CheckpointError, match=r"source 'wiki' .*windows was"):
        check_resume(saved, build(configured(phases=second, split="80,20")).phases, consumed=24)


def test_phases_with_validation_data_of_its_own_use_every_document(tmp_path: Path, wiki: str, web: str) -> None:
    path = phases_file(tmp_path, "- {sources: {wiki: {path: wiki, weight: 1}}}")
    datasets = build(configured(phases=path, valid_data_path=[web]))
    assert datasets.train.reader.order.windows == {"wiki": (2000 - 1) // LENGTH}
    assert datasets.valid.reader.order.windows == {"web": (1500 - 1) // LENGTH}
    assert datasets.test is None


def test_other_data_under_the_same_name_is_refused(tmp_path: Path, wiki: str) -> None:
    config = configured(data_path=[wiki])
    saved = build(config).phases
    write_dataset(tmp_path / "wiki", documents=100, length=20, first_token=1)
    with pytest.raises(CheckpointError, match=r"source 'wiki' .*fingerprint was"):
        check_resume(saved, build(config).phases, consumed=1)


def test_data_of_a_finished_phase_need_not_be_there(tmp_path: Path, web: str) -> None:
    text = "- {sources: {gone: {path: gone, weight: 1}}}\n- {from: 10, sources: {web: {path: web, weight: 1}}}"
    config = configured(phases=phases_file(tmp_path, text), eval_iters=0)
    datasets = build(config, consumed_samples=10)
    assert all(token >= 5000 for row in sample_rows(datasets, "train", 12, 4) for token in row)
    assert "gone: 10 samples, all before this start" in datasets.describe()
    with pytest.raises(DataError, match="gone"):
        build(config, consumed_samples=9)


def test_description(wiki: str, web: str) -> None:
    datasets = build(configured(data_path=["1", wiki, "1", web], split="80,20"), total_samples=400)
    assert datasets.describe().splitlines() == [
        "data: 2 sources, 1 phases, 400 samples",
        "  web: 40 documents, 1,200 tokens, 149 windows; 200 samples of this run, 1.34 epochs",
        "  wiki: 80 documents, 1,600 tokens, 199 windows; 200 samples of this run, 1.01 epochs",
    ]


@pytest.mark.parametrize(
    ("knobs", "says"),
    [
        ({}, "no training data"),
        ({"data_path": ["{wiki}"], "phases": "x.yaml"}, "--phases and --data-path"),
        ({"data_path": ["{wiki}"], "split": "0,1"}, "no document for training"),
        ({"data_path": ["{wiki}"], "split": "100"}, r"--eval-iters 2, but no validation sample[\s\S]*second number"),
        ({"train_data_path": ["{wiki}"]}, "no validation sample"),
        ({"data_path": ["{wiki}"], "seq_length": 5000}, "too short for one sample of --seq-length 5000"),
        ({"data_path": ["{wiki}.idx"]}, r"no file[\s\S]*did you mean .*wiki\?"),
        ({"data_path": ["{wiki}_none"]}, "no file"),
        ({"data_path": ["{folder}"]}, r"no file[\s\S]*did you mean .*web\?"),
        ({"data_path": ["{folder}/wi"]}, r"no file[\s\S]*did you mean .*wiki\?"),
    ],
)
def test_bad_configurations(tmp_path: Path, wiki: str, web: str, knobs: dict, says: str) -> None:
    filled = {
        name: [word.format(wiki=wiki, folder=tmp_path) for word in value] if isinstance(value, list) else value
        for name, value in knobs.items()
    }
    with pytest.raises((ConfigError, DataError), match=says):
        build(configured(**filled))


def test_a_source_without_validation_documents_is_left_out_there(
    tmp_path: Path, wiki: str, caplog: pytest.LogCaptureFixture
) -> None:
    tiny = write_dataset(tmp_path / "tiny", documents=2, length=30, first_token=9000)
    datasets = build(configured(data_path=["1", wiki, "1", tiny], split="90,10"))
    assert {datasets.valid.reader.order.at(n).source for n in range(20)} == {"wiki"}
    assert "no valid sample in tiny" in caplog.text


TOKENIZER = TokenizerFacts("abc", 10_000, 3)


def test_tokenizer_of_data_and_model(tmp_path: Path, wiki: str) -> None:
    made = write_dataset(tmp_path / "made", documents=20, length=20, tokenizer=TOKENIZER)
    facts = build(configured(data_path=[made])).tokenizer
    assert facts == TOKENIZER
    assert build(configured(data_path=[made]), tokenizer=TOKENIZER).tokenizer == TOKENIZER
    build(configured(data_path=[made]), tokenizer=dataclasses.replace(TOKENIZER, vocab_size=20_000))
    build(configured(data_path=[made, wiki]))  # data without a manifest passes
    for other, says in [
        (dataclasses.replace(TOKENIZER, fingerprint="xyz"), "made with tokenizer abc, the model's tokenizer is xyz"),
        (dataclasses.replace(TOKENIZER, vocab_size=399), r"token ids up to 399, the model's vocabulary ends at 398"),
    ]:
        with pytest.raises(DataError, match=says):
            build(configured(data_path=[made]), tokenizer=other)
    second = write_dataset(
        tmp_path / "second", documents=20, length=20, tokenizer=dataclasses.replace(TOKENIZER, fingerprint="xyz")
    )
    with pytest.raises(DataError, match=r"source 'second' .* tokenizer xyz, source 'made' is abc"):
        build(configured(data_path=[made, second]))


def test_manifest_of_other_files(tmp_path: Path) -> None:
    made = write_dataset(tmp_path / "made", documents=20, length=20, tokenizer=TOKENIZER)
    manifest = Path(made + ".manifest.json").read_text()
    write_dataset(tmp_path / "made", documents=20, length=21)
    Path(made + ".manifest.json").write_text(manifest)
    with pytest.raises(DataError, match="420 tokens, its manifest tells of 400"):
        build(configured(data_path=[made]))


def test_tokens_without_a_manifest_are_checked_as_they_are_read(wiki: str) -> None:
    datasets = build(configured(data_path=[wiki]), tokenizer=TokenizerFacts(None, 100, None))
    with pytest.raises(DataError, match=r"source 'wiki'.*vocabulary of 100"):
        sample_rows(datasets, "train", 0, 40)


def test_eod_mask_needs_eod_in_the_data(tmp_path: Path, wiki: str) -> None:
    with pytest.raises(ConfigError, match="without an end-of-document token"):
        build(configured(data_path=[wiki], eod_mask_loss=True))
    plain = write_dataset(tmp_path / "plain", documents=20, length=20, tokenizer=TOKENIZER, append_eod=False)
    with pytest.raises(ConfigError, match="without --append-eod"):
        build(configured(data_path=[plain], eod_mask_loss=True))
    ended = write_dataset(tmp_path / "ended", documents=20, length=20, tokenizer=TOKENIZER, append_eod=True)
    batch = build(configured(data_path=[ended], eod_mask_loss=True)).train.reader.read(0, 40)
    assert np.array_equal(batch.loss_mask_BS.numpy(), batch.tokens_BS.numpy() != TOKENIZER.eod_id)


def test_document_options_reach_the_batches(wiki: str) -> None:
    datasets = build(configured(data_path=[wiki], reset_position_ids=True, reset_attention_mask=True))
    batch = datasets.train.reader.read(0, 4)
    assert batch.positions_BS is not None
    assert np.array_equal(batch.positions_BS.numpy()[:, 1:] == 0, batch.tokens_BS.numpy()[:, 1:] % 20 == 0)
    assert sum(batch.lengths) == 4 * LENGTH


def test_epochs_of_a_source_that_is_gone_are_known_from_the_checkpoint(tmp_path: Path, wiki: str, web: str) -> None:
    text = """
        - until: 100
          sources: {wiki: {path: wiki, epochs: 1/10}, web: {path: web, weight: 1}}
        - {from: 60, ramp: 20, sources: {web: 1}}
        """
    config = configured(phases=phases_file(tmp_path, text), eval_iters=0)
    before = build(config)
    saved = json.loads(json.dumps(before.phases))
    rows = sample_rows(before, "train", 80, 8)
    for suffix in (".bin", ".idx"):
        Path(wiki + suffix).unlink()
    after = build(config, consumed_samples=80, recorded_phases=saved)
    assert after.phases == saved  # the next checkpoint still knows what the first one knew
    check_resume(saved, after.phases, consumed=80)
    assert sample_rows(after, "train", 80, 8) == rows
    with pytest.raises(DataError, match="wiki"):  # the ramp still reads it
        build(config, consumed_samples=79, recorded_phases=saved)
    with pytest.raises(ConfigError, match="epochs of source 'wiki'"):
        build(config, consumed_samples=80)
