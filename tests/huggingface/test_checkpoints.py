"""A checkpoint as conversion reads it: which one, its configuration, its tensors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers.gpt_of import gpt_of
from helpers.hf_folder import save_hf_model
from helpers.saved_run import save_run
from helpers.tiny_models import VOCABULARY, tiny_hf_model
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointError, ModelConfig
from steel_megatron.huggingface.checkpoints import RunCheckpoint
from steel_megatron.model.gpt import GPT
from steel_megatron.model.slices import model_slices
from steel_megatron.parallel.grid import Grid
from steel_megatron.parallel.parameter import Piece, parameters_with_spec, spec_of


def pieces(model: GPT) -> dict[str, Piece]:
    return {piece.name: piece for parameter in parameters_with_spec([model]) for piece in spec_of(parameter).pieces}


def values(model: GPT) -> dict[str, torch.Tensor]:
    return {name: block.tensor for name, block in model_slices([model]).items()}


def test_the_newest_whole_one_or_the_one_asked_for(tmp_path: Path) -> None:
    model = gpt_of(tiny_hf_model("llama"))
    for step in (10, 20):
        save_run(model, tmp_path, step)
    assert [RunCheckpoint.open(tmp_path, step).step for step in (None, 10, 20)] == [20, 10, 20]
    facts = CheckpointStore(tmp_path).folder(20) / "facts.json"
    facts.write_text(facts.read_text() + " ")
    assert RunCheckpoint.open(tmp_path).step == 10
    with pytest.raises(CheckpointError, match=r"step_0000020 is damaged: .*facts\.json"):
        RunCheckpoint.open(tmp_path, 20)
    with pytest.raises(CheckpointError, match="no whole checkpoint of step 15") as caught:
        RunCheckpoint.open(tmp_path, 15)
    assert "10, 20" in caught.value.rule


@pytest.mark.parametrize("step", [None, 0])
def test_a_folder_without_checkpoints_is_told(tmp_path: Path, step: int | None) -> None:
    (tmp_path / "step_0000000").mkdir()  # a save that was killed
    for folder, rule in ((tmp_path, r"without complete\.json: step_0000000"), (tmp_path / "none", "is not a folder")):
        with pytest.raises(CheckpointError, match=rf"(?s)no whole checkpoint.*{rule}.*check --load and --step"):
            RunCheckpoint.open(folder, step)


def test_a_hugging_face_folder_is_told_as_that(tmp_path: Path) -> None:
    save_hf_model("llama", tmp_path / "hf")
    with pytest.raises(CheckpointError, match=r"--load .* is a Hugging Face folder"):
        RunCheckpoint.open(tmp_path / "hf")


def test_what_a_checkpoint_of_an_earlier_version_does_not_say_is_the_default(tmp_path: Path) -> None:
    model = gpt_of(tiny_hf_model("llama"))
    store = save_run(model, tmp_path, 10, fingerprint="abc")
    config = store.facts(10)["config"]
    for name in ("layer_types", "window_size", "z_loss_coeff"):
        next(section for section in config.values() if name in section).pop(name)
    store.save(20, model_slices([model]), {"config": config})
    old = RunCheckpoint.open(tmp_path)
    assert (old.step, old.model) == (20, model.config)
    assert old.tokenizer_fingerprint is None
    assert RunCheckpoint.open(tmp_path, 10).tokenizer_fingerprint == "abc"


def test_whole_tensors_come_without_padding_and_masters_where_there_are(tmp_path: Path) -> None:
    model = gpt_of(tiny_hf_model("llama"), torch.bfloat16)
    save_run(model, tmp_path, masters=True)
    opened = RunCheckpoint.open(tmp_path)
    assert opened.dtype == torch.bfloat16
    wanted = [pieces(model)[name] for name in ("embedding.weight", "final_norm.weight")]
    rounded, exact = opened.tensors(wanted), opened.tensors(wanted, masters=True)
    assert list(rounded) == ["embedding.weight", "final_norm.weight"]
    assert rounded["embedding.weight"].shape == (VOCABULARY, 48)
    for name, tensor in rounded.items():
        assert torch.equal(tensor, values(model)["model." + name])
        assert torch.equal(exact[name], tensor.float() * (1 + 2**-12))
    save_run(model, tmp_path, 20)  # no masters in it: its weights are all that is known
    assert torch.equal(
        RunCheckpoint.open(tmp_path).tensors(wanted, masters=True)["final_norm.weight"], model.final_norm.weight
    )


def test_files_that_do_not_belong_together_are_told(tmp_path: Path) -> None:
    model = gpt_of(tiny_hf_model("llama"))
    save_run(model, tmp_path)
    opened = RunCheckpoint.open(tmp_path)
    norm = pieces(model)["final_norm.weight"]
    for wrong, found in (
        (Piece("final_norm.weight", (47,), (47,), (0,)), r"model\.final_norm\.weight is \[48\]"),
        (Piece("final_norm.bias", (48,), (48,), (0,)), r"model\.final_norm\.bias is missing"),
    ):
        with pytest.raises(CheckpointError, match=found) as caught:
            opened.tensors([norm, wrong])
        assert f"describes [{wrong.shape[0]}]" in caught.value.rule


def test_a_model_is_filled_whole(tmp_path: Path) -> None:
    model = gpt_of(tiny_hf_model("qwen2"))  # fused pieces with biases, a vocabulary with padding
    save_run(model, tmp_path)
    opened = RunCheckpoint.open(tmp_path)
    into = GPT(opened.model, Grid.single(), dtype=torch.float32)
    with torch.no_grad():
        for parameter in into.parameters():
            parameter.fill_(float("nan"))
    opened.load_into(into)
    for one, other in zip(into.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert into.embedding.tokens.weight[VOCABULARY:].count_nonzero() == 0
    opened.load_into(into, rounded_to=torch.bfloat16)
    for one, other in zip(into.parameters(), model.parameters(), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other.bfloat16().float())


def test_a_configuration_that_is_not_known_here_is_told_with_its_place(tmp_path: Path) -> None:
    model = gpt_of(tiny_hf_model("llama"))
    store = save_run(model, tmp_path)
    facts = json.loads(json.dumps(store.facts(10)))
    facts["config"]["model"]["from_the_future"] = 3
    store.save(20, model_slices([model]), facts)
    with pytest.raises(Exception, match=r"step_0000020, configuration: unknown key 'from_the_future'"):
        RunCheckpoint.open(tmp_path)
    assert isinstance(RunCheckpoint.open(tmp_path, 10).model, ModelConfig)
