"""Folders in, checkpoints, folders out: the same bits, the same options, loaded by transformers without an edit."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from helpers.gpt_of import gpt_of
from helpers.hf_folder import save_hf_model, save_hf_model_with_tokenizer
from helpers.saved_run import save_run
from helpers.small_tokenizer import SMALL_VOCABULARY, small_tokenizer
from helpers.tiny_models import tiny_hf_model
from steel_megatron.config import CheckpointError, ConfigError, DataError
from steel_megatron.huggingface.check import check_export
from steel_megatron.huggingface.export import export_checkpoint
from steel_megatron.huggingface.folder import INDEX, SINGLE, StateFolder
from steel_megatron.huggingface.import_ import import_folder
from steel_megatron.huggingface.options import read_options
from steel_megatron.tokenizer import build_tokenizer


@pytest.mark.parametrize(
    "name", ["llama_llama3", "llama_tied_multi_head", "qwen2_tied", "qwen3", "gpt2", "gpt2_untied"]
)
def test_import_then_export_is_bitwise(name, tmp_path):
    original = save_hf_model(name, tmp_path / "hf", torch.bfloat16)
    imported = import_folder(tmp_path / "hf", tmp_path / "run")
    exported = export_checkpoint(tmp_path / "run", tmp_path / "out")
    assert imported.precision == "bf16"
    assert exported.parameters == imported.parameters == original.num_parameters()
    before, after = load_file(tmp_path / "hf" / SINGLE), load_file(tmp_path / "out" / SINGLE)
    assert before.keys() == after.keys()
    assert all(tensor.dtype == torch.bfloat16 and torch.equal(tensor, before[key]) for key, tensor in after.items())
    configs = [AutoConfig.from_pretrained(tmp_path / folder) for folder in ("hf", "out")]
    assert read_options(configs[0].to_dict()) == read_options(configs[1].to_dict())
    assert configs[1].architectures == original.config.architectures
    assert check_export(tmp_path / "run", 0, tmp_path / "out") < 1e-4


def test_the_exported_folder_loads_and_generates_without_an_edit(tmp_path):
    original = save_hf_model_with_tokenizer("qwen2", tmp_path / "hf")
    import_folder(tmp_path / "hf", tmp_path / "run")
    exported = export_checkpoint(tmp_path / "run", tmp_path / "out")
    assert exported.tokenizer
    assert exported.family == "Qwen2"
    model, tokenizer = (cls.from_pretrained(tmp_path / "out") for cls in (AutoModelForCausalLM, AutoTokenizer))
    assert model.dtype == torch.float32
    batch = tokenizer("人工智能 quick brown fox", return_tensors="pt")
    assert batch["input_ids"].max() < SMALL_VOCABULARY
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, original(**batch).logits, atol=1e-5, rtol=0)
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    generation = GenerationConfig.from_pretrained(tmp_path / "out")
    assert generation.eos_token_id == generation.pad_token_id == model.config.eos_token_id == end
    assert model.config.pad_token_id is None  # or the end of a document would get no gradient in later training
    assert model.generate(**batch, max_new_tokens=5, do_sample=False).shape[1] <= batch["input_ids"].shape[1] + 5


def test_a_chat_models_end_of_turn_ends_generation_too(tmp_path):
    save_hf_model_with_tokenizer("qwen2", tmp_path / "hf")
    path = tmp_path / "hf" / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": "<|im_end|>"}))
    import_folder(tmp_path / "hf", tmp_path / "run")
    export_checkpoint(tmp_path / "run", tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ends = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"])
    assert json.loads((tmp_path / "out" / "generation_config.json").read_text())["eos_token_id"] == ends
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == ends[0]


def test_config_has_the_spelling_of_both_versions_of_transformers(tmp_path):
    save_hf_model("llama_llama3", tmp_path / "hf", torch.bfloat16)
    import_folder(tmp_path / "hf", tmp_path / "run")
    export_checkpoint(tmp_path / "run", tmp_path / "out", precision="fp16")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["torch_dtype"] == config["dtype"] == "float16"
    assert config["rope_scaling"]["rope_type"] == config["rope_parameters"]["rope_type"] == "llama3"
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"]
    assert StateFolder(tmp_path / "out").dtype == torch.float16


def test_large_models_come_in_shards(tmp_path):
    save_hf_model("llama", tmp_path / "hf", max_shard_size="40KB")
    assert (tmp_path / "hf" / INDEX).is_file()
    import_folder(tmp_path / "hf", tmp_path / "run")
    export_checkpoint(tmp_path / "run", tmp_path / "out", max_shard_size=40_000)
    shards = sorted((tmp_path / "out").glob("model-*.safetensors"))
    assert len(shards) > 2
    assert all(sum(tensor.nbytes for tensor in load_file(shard).values()) <= 40_512 for shard in shards)
    before, after = StateFolder(tmp_path / "hf"), StateFolder(tmp_path / "out")
    assert all(torch.equal(before[name], after[name]) for name in before.shapes)
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_the_newest_step_or_the_one_asked_for(tmp_path):
    for step, seed in ((10, 1), (20, 2)):
        save_run(gpt_of(tiny_hf_model("llama", seed=seed)), tmp_path / "run", step)
    assert export_checkpoint(tmp_path / "run", tmp_path / "newest").step == 20
    assert export_checkpoint(tmp_path / "run", tmp_path / "first", step=10).step == 10
    norms = [load_file(tmp_path / name / SINGLE)["model.norm.weight"] for name in ("first", "newest")]
    for norm, seed in zip(norms, (1, 2), strict=True):
        assert torch.equal(norm, tiny_hf_model("llama", seed=seed).model.norm.weight)
    with pytest.raises(CheckpointError, match=r"(?s)step 15.*10, 20"):
        export_checkpoint(tmp_path / "run", tmp_path / "other", step=15)


def test_fp32_takes_the_masters(tmp_path):
    model = gpt_of(tiny_hf_model("llama"), torch.bfloat16)
    save_run(model, tmp_path / "run", masters=True)
    export_checkpoint(tmp_path / "run", tmp_path / "bf16")
    export_checkpoint(tmp_path / "run", tmp_path / "fp32", precision="fp32")
    rounded, exact = (load_file(tmp_path / name / SINGLE)["model.norm.weight"] for name in ("bf16", "fp32"))
    assert torch.equal(exact, rounded.float() * (1 + 2**-12))
    assert torch.equal(rounded, model.final_norm.weight)
    assert check_export(tmp_path / "run", 10, tmp_path / "bf16") < 1e-4
    assert check_export(tmp_path / "run", 10, tmp_path / "fp32") < 1e-4


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (float("nan"), None, r"NaN or infinite: model\.norm\.weight \(1 of 48 elements\)(?s:.*)an earlier --step"),
        (70_000.0, "fp16", r"float16 cannot hold: model\.norm\.weight \(1 of 48 elements\)(?s:.*)--dtype bf16 or fp32"),
    ],
)
def test_weights_that_are_no_numbers_in_the_type_leave_no_folder(tmp_path, value, dtype, message):
    model = gpt_of(tiny_hf_model("llama"))
    with torch.no_grad():
        model.final_norm.weight[0] = value
    save_run(model, tmp_path / "run")
    with pytest.raises(CheckpointError, match=message):
        export_checkpoint(tmp_path / "run", tmp_path / "out", precision=dtype)
    assert not (tmp_path / "out").exists()


def test_a_model_that_no_family_has_leaves_no_folder(tmp_path):
    model = gpt_of(tiny_hf_model("llama"))
    save_run(model, tmp_path / "run", position_embedding_type="none")
    with pytest.raises(ConfigError, match="position_embedding_type is none"):
        export_checkpoint(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_another_shape_is_named(tmp_path):
    save_run(gpt_of(tiny_hf_model("llama")), tmp_path / "run", ffn_hidden_size=81)
    with pytest.raises(CheckpointError, match=r"(?s)mlp.*\[80, 48\].*\[81, 48\]"):
        export_checkpoint(tmp_path / "run", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, caplog):
    model = gpt_of(tiny_hf_model("llama"))
    save_run(model, tmp_path / "run", 10)
    store = save_run(model, tmp_path / "run", 20)
    file = next(store.folder(20).glob("*.distcp"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert export_checkpoint(tmp_path / "run", tmp_path / "out").step == 10
    assert "step_0000020 is not used" in caplog.text
    with pytest.raises(CheckpointError, match="damaged"):
        export_checkpoint(tmp_path / "run", tmp_path / "asked", step=20)


def test_what_is_there_is_not_written_over(tmp_path):
    save_hf_model("llama", tmp_path / "hf")
    import_folder(tmp_path / "hf", tmp_path / "run")
    with pytest.raises(ConfigError, match="--overwrite"):
        export_checkpoint(tmp_path / "run", tmp_path / "hf")
    export_checkpoint(tmp_path / "run", tmp_path / "hf", overwrite=True)
    with pytest.raises(ConfigError, match="only a model folder"):
        export_checkpoint(tmp_path / "run", tmp_path / "run" / "step_0000000", overwrite=True)


def test_another_tokenizer_than_that_of_training_is_refused(tmp_path):
    save_hf_model_with_tokenizer("llama", tmp_path / "hf")
    import_folder(tmp_path / "hf", tmp_path / "run")
    content = json.loads((tmp_path / "hf" / "tokenizer.json").read_text())
    content["normalizer"] = {"type": "Lowercase"}
    small_tokenizer(tmp_path / "other")
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="fingerprint"):
        export_checkpoint(tmp_path / "run", tmp_path / "out", tokenizer_model=str(tmp_path / "other"))
    export_checkpoint(tmp_path / "run", tmp_path / "out", tokenizer_model=str(small_tokenizer(tmp_path / "same")))


def test_without_a_tokenizer_the_weights_are_exported_all_the_same(tmp_path, caplog):
    save_hf_model("llama", tmp_path / "hf")
    import_folder(tmp_path / "hf", tmp_path / "run")
    assert not export_checkpoint(tmp_path / "run", tmp_path / "out").tokenizer
    assert "without a tokenizer" in caplog.text
    for vocab_size in (210, 211):
        run = tmp_path / str(vocab_size)
        null = build_tokenizer("NullTokenizer", None, vocab_size)
        save_run(gpt_of(tiny_hf_model("llama")), run, fingerprint=null.fingerprint, tokenizer_type="NullTokenizer")
        assert not export_checkpoint(run, tmp_path / f"out{vocab_size}").tokenizer
