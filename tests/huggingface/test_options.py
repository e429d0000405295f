"""Options of Hugging Face models ↔ ModelConfig, with transformers' own configurations as the other side."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from transformers import AutoConfig

from helpers.golden_exports import everything
from helpers.tiny_models import TINY, tiny_config
from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.huggingface.families.gpt2 import FAMILY as GPT2
from steel_megatron.huggingface.families.llama import FAMILY as LLAMA
from steel_megatron.huggingface.families.qwen2 import FAMILY as QWEN2
from steel_megatron.huggingface.families.qwen3 import FAMILY as QWEN3
from steel_megatron.huggingface.options import FAMILIES, family_of, read_options, write_options

EXPORTS = Path(__file__).parents[1] / "golden" / "huggingface" / "exports.json"


@pytest.mark.parametrize("name", TINY)
def test_options_survive_the_way_in_and_out(name, tmp_path):
    original = tiny_config(name)
    family, model = read_options(original.to_dict())
    assert family.model_type == original.model_type
    assert family_of(model) is family
    (tmp_path / "config.json").write_text(json.dumps(write_options(family, model)))
    again = AutoConfig.from_pretrained(tmp_path)
    assert read_options(again.to_dict()) == (family, model)
    differing = {
        key for key, value in original.to_dict().items() if value is not None and again.to_dict().get(key) != value
    }
    # transformers 4 keeps a sliding window that use_sliding_window False switches off
    assert differing <= {"_name_or_path", "rope_parameters", "rope_scaling", "sliding_window"}


@pytest.mark.parametrize("name", ["llama_llama3", "qwen2_yarn", "llama_linear", "qwen3"])
def test_both_spellings_of_rope_are_written_and_either_is_read(name):
    family, model = read_options(tiny_config(name).to_dict())
    options = tiny_config(name).to_dict() | write_options(family, model)
    version_4 = {key: value for key, value in options.items() if key != "rope_parameters"}
    version_5 = {key: value for key, value in options.items() if key not in ("rope_theta", "rope_scaling")}
    assert read_options(version_4) == read_options(version_5) == (family, model)


@pytest.mark.parametrize(
    ("changes", "family"),
    [
        ({}, LLAMA),
        ({"add_bias_linear": True}, LLAMA),
        ({"add_bias_linear": True, "add_qkv_bias": True}, LLAMA),
        ({"activation": "geglu"}, LLAMA),
        ({"add_qkv_bias": True}, QWEN2),
        ({"qk_layernorm": True, "kv_channels": 128}, QWEN3),
        ({"qk_layernorm": True, "layer_types": ["sliding_attention", "full_attention"], "window_size": 64}, QWEN3),
        ({"hidden_dropout": 0.1}, LLAMA),
        (
            {
                "position_embedding_type": "learned_absolute",
                "normalization": "LayerNorm",
                "activation": "gelu_tanh",
                "add_bias_linear": True,
                "num_query_groups": None,
            },
            GPT2,
        ),
    ],
)
def test_a_model_goes_to_the_family_that_has_its_options(changes, family):
    assert family_of(dataclasses.replace(ModelConfig(vocab_size=1000), **changes)) is family


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"position_embedding_type": "none"}, "position_embedding_type is none"),
        ({"rotary_percent": 0.5}, "rotary_percent is 0.5"),
        ({"normalization": "LayerNorm"}, "normalization is LayerNorm"),
        ({"activation": "squared_relu"}, "activation is squared_relu"),
        ({"qk_layernorm": True, "add_qkv_bias": True}, "qk_layernorm is True"),
        ({"layer_types": ["sliding_attention"], "window_size": 64}, "layer_types is ('sliding_attention',)"),
        ({"hidden_size": 100, "num_attention_heads": 8, "kv_channels": 16}, "hidden_size is 100"),
        ({"mlp_layer_types": ["my.py:Wide"]}, "mlp_layer_types is ('my.py:Wide',)"),
    ],
)
def test_an_option_that_no_family_has_is_named(changes, named):
    with pytest.raises(ConfigError) as caught:
        family_of(dataclasses.replace(ModelConfig(vocab_size=1000), **changes))
    assert named in str(caught.value)
    assert "Qwen3" in str(caught.value) or "Llama" in str(caught.value)


def test_another_model_type_is_refused_with_those_that_are_known():
    with pytest.raises(ConfigError, match=r"(?s)model_type 'mamba'.*gpt2, llama, qwen2, qwen3"):
        read_options(tiny_config("llama").to_dict() | {"model_type": "mamba"})


def test_a_file_of_the_folder_is_the_family_of_its_name():
    names = FAMILIES.names()
    assert {"llama", "qwen2", "qwen3", "gpt2"} <= set(names)
    assert [FAMILIES.load(name).model_type for name in names] == list(names)


def test_exports_and_refusals_are_those_of_an_earlier_version():
    """golden/huggingface/make.py; the fix of a refusal may name more families."""
    golden, now = json.loads(EXPORTS.read_text()), everything()
    for name, then in golden["exports"].items():
        assert now["exports"][name] == then, name
        assert list(now["exports"][name]["options"]) == list(then["options"]), name
        assert list(now["exports"][name]["tensors"]) == list(then["tensors"]), name
    assert [text.split("\n  fix:")[0] for text in now["refusals"]] == [
        text.split("\n  fix:")[0] for text in golden["refusals"]
    ]


FAMILY_OF_ONES_OWN = """
from steel_megatron.huggingface.families.llama import Llama, Rule, ROTARY

class Wide(Llama):
    name = "Wide"
    rules = (*ROTARY, Rule.one_of("hidden_size", 48))

FAMILY = Wide()
"""


def test_a_family_from_outside_is_named_by_its_file(tmp_path, monkeypatch):
    (tmp_path / "wide.py").write_text(FAMILY_OF_ONES_OWN)
    monkeypatch.chdir(tmp_path)
    family, model = read_options(tiny_config("llama").to_dict(), "wide.py:FAMILY")
    assert family.name == "Wide"
    assert family_of(model, "wide.py:FAMILY") is family
    assert family_of(model) is LLAMA
    narrow = dataclasses.replace(model, hidden_size=96)
    with pytest.raises(ConfigError, match="Wide does not have this model: hidden_size is 96"):
        family_of(narrow, "wide.py:FAMILY")
    with pytest.raises(ConfigError, match="model_type"):  # a file's model_type is no code to be run
        read_options(tiny_config("llama").to_dict() | {"model_type": "wide.py:FAMILY"})
