"""What an import makes, and what it refuses."""

from __future__ import annotations

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from helpers.hf_folder import save_hf_model, save_hf_model_with_tokenizer
from helpers.small_tokenizer import small_tokenizer
from steel_megatron.checkpoint.store import CheckpointStore
from steel_megatron.config import CheckpointError, ConfigError, DataError, load_run_config
from steel_megatron.huggingface.folder import SINGLE
from steel_megatron.huggingface.import_ import import_folder
from steel_megatron.tokenizer import build_tokenizer


def test_the_runs_folder_holds_configuration_tokenizer_and_weights(tmp_path):
    save_hf_model_with_tokenizer("qwen2_tied", tmp_path / "hf")
    done = import_folder(tmp_path / "hf", tmp_path / "run")
    assert done.family == "Qwen2"
    assert done.tokenizer
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["config.yaml", "step_0000000", "tokenizer"]
    config = load_run_config(tmp_path / "run" / "config.yaml")
    assert config.model.add_qkv_bias
    assert config.model.tied
    assert config.training.precision == "fp32"
    store = CheckpointStore(tmp_path / "run")
    assert store.newest() == 0
    facts = store.facts(0)
    assert facts["config"] == config.to_dict()
    kept = build_tokenizer(None, tmp_path / "run" / "tokenizer")
    assert facts["tokenizer_fingerprint"] == kept.fingerprint == build_tokenizer(None, tmp_path / "hf").fingerprint
    assert all(name.startswith("model.") for name in store.tensors(0))
    assert "model.head.weight" not in store.tensors(0)


def test_the_type_can_be_chosen(tmp_path):
    save_hf_model("gpt2", tmp_path / "hf")
    import_folder(tmp_path / "hf", tmp_path / "run", precision="bf16")
    tensors = CheckpointStore(tmp_path / "run").tensors(0)
    assert {dtype for _, dtype in tensors.values()} == {torch.bfloat16}
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["training"]["precision"] == "bf16"


def test_weights_that_do_not_fit_are_listed_and_leave_no_run(tmp_path):
    save_hf_model("llama", tmp_path / "hf")
    state = load_file(tmp_path / "hf" / SINGLE)
    del state["model.layers.1.mlp.up_proj.weight"]
    state["model.layers.1.mlp.sideways_proj.weight"] = torch.ones(3)
    save_file(state, tmp_path / "hf" / SINGLE)
    with pytest.raises(CheckpointError, match=r"(?s)missing: .*up_proj.*unexpected: .*sideways_proj"):
        import_folder(tmp_path / "hf", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_written_over(tmp_path):
    save_hf_model("llama", tmp_path / "hf")
    import_folder(tmp_path / "hf", tmp_path / "run")
    with pytest.raises(CheckpointError, match="holds a run already"):
        import_folder(tmp_path / "hf", tmp_path / "run")


def test_a_run_is_not_made_inside_the_folder_of_a_model(tmp_path):
    save_hf_model("llama", tmp_path / "hf")
    before = sorted(path.name for path in (tmp_path / "hf").iterdir())
    with pytest.raises(CheckpointError, match=r"--save .* is a Hugging Face folder"):
        import_folder(tmp_path / "hf", tmp_path / "hf")
    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == before


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    save_hf_model("llama", tmp_path / "hf")  # 211 rows
    small_tokenizer(tmp_path / "hf")  # 600 ids
    with pytest.raises(DataError, match="600 ids"):
        import_folder(tmp_path / "hf", tmp_path / "run")


def test_other_families_are_refused(tmp_path):
    tmp_path.joinpath("config.json").write_text('{"model_type": "gpt_neox"}')
    with pytest.raises(ConfigError, match=r"(?s)gpt_neox.*gpt2, llama, qwen2, qwen3"):
        import_folder(tmp_path, tmp_path / "run")


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers_are_named_and_leave_no_run(tmp_path, value):
    save_hf_model("llama", tmp_path / "hf")
    state = load_file(tmp_path / "hf" / SINGLE)
    for name in ("model.layers.1.mlp.up_proj.weight", "model.norm.weight"):
        state[name].view(-1)[3] = value
    save_file(state, tmp_path / "hf" / SINGLE)
    with pytest.raises(CheckpointError, match=r"NaN or infinite: .*") as caught:
        import_folder(tmp_path / "hf", tmp_path / "run", precision="bf16")
    assert "model.layers.1.mlp.up_proj.weight (1 of " in caught.value.given
    assert "model.norm.weight (1 of " in caught.value.given
    assert not (tmp_path / "run").exists()


def test_weights_that_the_type_cannot_hold_are_named(tmp_path):
    save_hf_model("llama", tmp_path / "hf")
    state = load_file(tmp_path / "hf" / SINGLE)
    state["model.norm.weight"][0] = 70_000.0
    save_file(state, tmp_path / "hf" / SINGLE)
    with pytest.raises(CheckpointError, match=r"float16 cannot hold: model\.norm\.weight \(1 of "):
        import_folder(tmp_path / "hf", tmp_path / "run", precision="fp16")
    import_folder(tmp_path / "hf", tmp_path / "run", precision="bf16")
