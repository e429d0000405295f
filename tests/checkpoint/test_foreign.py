"""Folders of other frameworks are known by what lies in them, and a run's folder is never taken for one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp

from helpers.small_checkpoints import save_steps
from steel_megatron.checkpoint.foreign import not_hugging_face, recognise, refuse_foreign
from steel_megatron.cli.run_data import config_of
from steel_megatron.config import CheckpointError


def files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return folder


FOLDERS = {
    "Megatron-LM (legacy, mp_rank_…)": [
        ("iter_0001000/mp_rank_00/model_optim_rng.pt", "latest_checkpointed_iteration.txt"),
        ("iter_0000500/mp_rank_00_000/model_optim_rng.pt", "iter_0001000/mp_rank_00_000/model_optim_rng.pt"),
        ("release/mp_rank_00/model_optim_rng.pt", "latest_checkpointed_iteration.txt"),
    ],
    "Megatron-LM (torch_dist)": [
        (
            *("iter_0001000/.metadata", "iter_0001000/common.pt", "iter_0001000/metadata.json"),
            *("iter_0001000/__0_0.distcp", "latest_checkpointed_iteration.txt"),
        ),
    ],
    "Megatron-LM (no iteration": [("latest_checkpointed_iteration.txt",)],
    "Hugging Face": [
        ("config.json", "model.safetensors"),
        ("config.json", "model-00001-of-00002.safetensors", "model.safetensors.index.json", "tokenizer.json"),
        ("config.json", "pytorch_model.bin"),
        ("config.json", "pytorch_model-00001-of-00002.bin"),
    ],
    "adapter": [("adapter_config.json", "adapter_model.safetensors")],
    "nanotron": [
        (
            "latest.txt",
            "10/checkpoint_metadata.json",
            "10/model_config.json",
            "10/config.yaml",
            "10/model/a.safetensors",
        ),
        ("checkpoint_metadata.json", "model_config.json", "config.yaml"),
        ("20/model_config.json", "20/config.yaml", "20/model/a", "20/optimizer/b"),
    ],
    "DeepSpeed": [
        ("latest", "zero_to_fp32.py", "global_step10/mp_rank_00_model_states.pt"),
        ("zero_pp_rank_0_mp_rank_00_optim_states.pt", "mp_rank_00_model_states.pt"),
    ],
    "LitGPT": [("lit_model.pth", "model_config.yaml", "config.json")],
    "Hugging Face's Trainer": [
        ("checkpoint-500/config.json", "checkpoint-500/model.safetensors", "checkpoint-1000/adapter_config.json"),
        ("checkpoint-500/config.json", "checkpoint-500/pytorch_model.bin", "runs/events"),
    ],
    "NeMo": [
        ("weights/metadata.json", "weights/common.pt", "weights/__0_0.distcp", "context/model.yaml"),
        ("model--val_loss=1-step=9/weights/common.pt", "model--val_loss=1-step=9/context/model.yaml"),
        ("megatron_gpt.nemo",),
    ],
    "GGUF": [("model-q4_k_m.gguf", "config.json")],
    "Meta and Mistral": [("consolidated.00.pth", "params.json"), ("consolidated.safetensors", "params.json")],
    "Lightning": [("epoch=3-step=100.ckpt",), ("last.ckpt", "hparams.yaml")],
    "weights of another program": [("model.safetensors",), ("checkpoint_last.pt",), ("pytorch_model.bin",), ("a.pth",)],
    "DCP": [
        ("step1000/config.json", "step1000/model_and_optim/.metadata", "step1000/model_and_optim/__0_0.distcp"),
        ("step-100/.metadata", "step-100/__0_0.distcp"),
        (".metadata", "__0_0.distcp"),
    ],
}


@pytest.mark.parametrize(("named", "names"), [(key, names) for key, lists in FOLDERS.items() for names in lists])
def test_what_a_folder_is_and_what_takes_it(tmp_path, named, names):
    with pytest.raises(CheckpointError) as caught:
        refuse_foreign(files(tmp_path / "given", *names), "--load")
    assert named in caught.value.given
    assert caught.value.given.startswith("--load ")
    assert "steel import --hf" in caught.value.fix


def test_one_iteration_of_megatron_and_one_checkpoint_of_ours(tmp_path):
    one = files(tmp_path / "iter_0000100", "mp_rank_00/model_optim_rng.pt")
    assert "Megatron-LM" in recognise(one).what
    save_steps(tmp_path / "run", 4)
    found = recognise(tmp_path / "run" / "step_0000004")
    assert "one checkpoint, not the folder of its run" in found.what
    assert f"{tmp_path / 'run'}, and its step (4)" in found.fix


def test_a_hugging_face_folder_without_weights(tmp_path):
    files(tmp_path, "config.json", "tokenizer.json")
    assert recognise(tmp_path) is None
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert "Hugging Face" in recognise(tmp_path).what


def test_a_checkpoint_that_torch_wrote(tmp_path):
    dcp.save({"weight": torch.ones(3)}, checkpoint_id=tmp_path / "step-7", no_dist=True)
    assert "DCP" in recognise(tmp_path).what
    assert "DCP" in recognise(tmp_path / "step-7").what


def test_what_may_be_a_run_is_left_alone(tmp_path):
    assert recognise(tmp_path / "nothing") is None
    (tmp_path / "file").write_text("")
    assert recognise(tmp_path / "file") is None
    assert recognise(files(tmp_path / "begun", "config.yaml", "metrics.jsonl", "tokenizer/tokenizer.json")) is None
    assert recognise(files(tmp_path / "other", "config.json", "notes.txt", "trace.pt", "data.bin")) is None
    store = save_steps(tmp_path / "run", 4)
    # Somebody has put a model beside the checkpoints: it is a run all the same.
    files(store.root, "config.json", "model.safetensors", "latest", "config.yaml")
    (store.root / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert recognise(store.root) is None


def test_what_hf_is_given_that_it_cannot_take(tmp_path):
    store = save_steps(tmp_path / "run", 4)
    error = not_hugging_face(store.root)
    assert "--hf" in error.given
    assert "is the folder of a run" in error.given
    assert f"steel export --load {store.root}" in error.fix
    megatron = files(tmp_path / "megatron", "latest_checkpointed_iteration.txt", "iter_0000001/mp_rank_00/a.pt")
    assert "Megatron-LM" in not_hugging_face(megatron).given
    assert "holds no config.json" in not_hugging_face(tmp_path).given


def test_commands_that_look_at_a_run_name_it_too(tmp_path):
    with pytest.raises(CheckpointError, match=r"--run .* is a Hugging Face folder"):
        config_of(files(tmp_path, "config.json", "model.safetensors"))
