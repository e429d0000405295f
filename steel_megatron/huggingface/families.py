"""Which Hugging Face family a model is, and its options there and here.

A family is a set of rules on :class:`ModelConfig`. A model is exported to the one family whose rules it meets; what no
family has is refused by name, because an export that computes something else would be worse than none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from steel_megatron.config import ConfigError, ModelConfig, check_model
from steel_megatron.huggingface.rope import read_rope, write_rope

Options = Mapping[str, Any]  # the content of a config.json


@dataclass(frozen=True)
class Rule:
    """What a family asks of one option."""

    option: str
    wanted: str
    holds: Callable[[ModelConfig], bool]


@dataclass(frozen=True)
class Family:
    """A model class of ``transformers``.

    ``style`` is the key of its parameter names in :attr:`Piece.hf`, ``prefix`` what the names of its base model begin
    with, ``ignored`` the endings of entries of its state dict that are no parameters.
    """

    name: str
    model_type: str
    architecture: str
    style: str
    prefix: str
    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()

    def broken_rules(self, model: ModelConfig) -> list[Rule]:
        """The rules that the model does not meet."""
        return [rule for rule in self.rules if not rule.holds(model)]


def _is(option: str, *values: Any) -> Rule:
    wanted = " or ".join(str(value) for value in values)
    return Rule(option, wanted, lambda model: getattr(model, option) in values)


_DEFAULT_HEAD = Rule(
    "kv_channels",
    "hidden size / heads",
    lambda model: model.head_dim * model.num_attention_heads == model.hidden_size,
)
_WHOLE_HEADS = Rule(
    "hidden_size", "a multiple of the heads", lambda model: model.hidden_size % model.num_attention_heads == 0
)
_NO_QKV_BIAS_ALONE = Rule(
    "add_qkv_bias", "False (or biases everywhere)", lambda model: model.add_bias_linear or not model.add_qkv_bias
)
_QKV_BIAS = Rule("add_qkv_bias", "True", lambda model: model.add_qkv_bias)

_ROTARY = (
    _is("position_embedding_type", "rope"),
    _is("rotary_percent", 1.0),
    _is("normalization", "RMSNorm"),
    _is("activation", "swiglu", "geglu"),
)
_NO_BIAS = _is("add_bias_linear", False)
_INV_FREQ = ("rotary_emb.inv_freq",)

LLAMA = Family(
    "Llama",
    "llama",
    "LlamaForCausalLM",
    "llama",
    "model.",
    (*_ROTARY, _NO_QKV_BIAS_ALONE, _is("qk_layernorm", False), _WHOLE_HEADS),
    _INV_FREQ,
)
QWEN2 = Family(
    "Qwen2",
    "qwen2",
    "Qwen2ForCausalLM",
    "llama",
    "model.",
    (*_ROTARY, _NO_BIAS, _QKV_BIAS, _is("qk_layernorm", False)),
    _INV_FREQ,
)
QWEN3 = Family(
    "Qwen3",
    "qwen3",
    "Qwen3ForCausalLM",
    "llama",
    "model.",
    (*_ROTARY, _NO_BIAS, _is("add_qkv_bias", False), _is("qk_layernorm", True)),
    _INV_FREQ,
)
GPT2 = Family(
    "GPT-2",
    "gpt2",
    "GPT2LMHeadModel",
    "gpt2",
    "transformer.",
    (
        _is("position_embedding_type", "learned_absolute"),
        _is("normalization", "LayerNorm"),
        _is("activation", "gelu", "gelu_tanh", "relu", "squared_relu", "silu"),
        _is("add_bias_linear", True),
        _is("qk_layernorm", False),
        Rule("num_query_groups", "as many as heads", lambda model: model.query_groups == model.num_attention_heads),
        _DEFAULT_HEAD,
    ),
    (".attn.bias", ".attn.masked_bias"),
)
FAMILIES = (LLAMA, QWEN2, QWEN3, GPT2)

_ACTIVATIONS = {  # GPT-2's names → ours
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
    "relu2": "squared_relu",
    "silu": "silu",
    "swish": "silu",
}
_GATED = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}


def family_of(model: ModelConfig) -> Family:
    """The family that has every option of the model.

    Raises:
        ConfigError: there is none; names the option that the nearest family has not.
    """
    broken = {family.name: family.broken_rules(model) for family in FAMILIES}
    for family in FAMILIES:
        if not broken[family.name]:
            return family
    nearest = min(FAMILIES, key=lambda family: len(broken[family.name]))
    lacking = broken[nearest.name]
    raise ConfigError(
        "no Hugging Face family has this model: "
        + ", ".join(f"{rule.option} is {getattr(model, rule.option)}" for rule in lacking),
        rule=f"the nearest, {nearest.name}, has " + ", ".join(f"{rule.option} {rule.wanted}" for rule in lacking),
        fix="a model for export is trained with the options of Llama, Qwen2, Qwen3 or GPT-2 (docs/huggingface.md)",
    )


def family_named(model_type: str) -> Family:
    """The family of a ``model_type`` of config.json.

    Raises:
        ConfigError: it is none of those that are converted.
    """
    for family in FAMILIES:
        if family.model_type == model_type:
            return family
    raise ConfigError(
        f"model_type {model_type!r}", rule=f"families are {', '.join(family.model_type for family in FAMILIES)}"
    )


def write_options(family: Family, model: ModelConfig) -> dict[str, Any]:
    """The model's part of config.json, in the spelling of transformers 4.51 and of 5 at once."""
    assert model.vocab_size is not None, "vocab_size is set from the tokenizer before the model is built"
    options: dict[str, Any] = {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": model.vocab_size,
        "initializer_range": model.init_method_std,
        "tie_word_embeddings": model.tied,
        "use_cache": True,
    }
    if family is GPT2:
        return options | {
            "n_embd": model.hidden_size,
            "n_inner": model.ffn_hidden_size,
            "n_layer": model.num_layers,
            "n_head": model.num_attention_heads,
            "n_positions": model.max_position_embeddings,
            "activation_function": _first_key(_ACTIVATIONS, model.activation),
            "layer_norm_epsilon": model.norm_epsilon,
            "attn_pdrop": model.attention_dropout,
            "resid_pdrop": model.hidden_dropout,
            "embd_pdrop": model.hidden_dropout,
        }
    options |= {
        "hidden_size": model.hidden_size,
        "intermediate_size": model.ffn_hidden_size,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.query_groups,
        "hidden_act": _first_key(_GATED, model.activation),
        "rms_norm_eps": model.norm_epsilon,
        "max_position_embeddings": model.max_position_embeddings,
        "attention_dropout": model.attention_dropout,
    }
    if family is LLAMA:
        options |= {"attention_bias": model.add_bias_linear, "mlp_bias": model.add_bias_linear}
    else:
        options |= {"use_sliding_window": False, "sliding_window": None}
    if family is QWEN3:
        options |= {"attention_bias": False}
    if family is not QWEN2 or model.head_dim * model.num_attention_heads != model.hidden_size:
        options |= {"head_dim": model.head_dim}
    return options | write_rope(model)


def read_options(options: Options) -> tuple[Family, ModelConfig]:
    """Family and model of a complete config.json (defaults filled in, as ``PretrainedConfig.to_dict`` does).

    Raises:
        ConfigError: another family, or an option that :class:`ModelConfig` has not.
    """
    family = family_named(str(options.get("model_type")))
    _refuse_unknown(family, options)
    model = ModelConfig(
        vocab_size=options["vocab_size"],
        init_method_std=options["initializer_range"],
        untie_embeddings_and_output_weights=not options["tie_word_embeddings"],
    )
    if family is GPT2:
        model.hidden_size = options["n_embd"]
        model.ffn_hidden_size = options["n_inner"] or 4 * options["n_embd"]
        model.num_layers = options["n_layer"]
        model.num_attention_heads = options["n_head"]
        model.num_query_groups = options["n_head"]
        model.max_position_embeddings = options["n_positions"]
        model.position_embedding_type = "learned_absolute"
        model.normalization = "LayerNorm"
        model.norm_epsilon = options["layer_norm_epsilon"]
        model.activation = _known(_ACTIVATIONS, options, "activation_function")
        model.add_bias_linear = True
        model.attention_dropout = float(options["attn_pdrop"])
        model.hidden_dropout = float(options["resid_pdrop"])
    else:
        heads = options["num_attention_heads"]
        model.hidden_size = options["hidden_size"]
        model.ffn_hidden_size = options["intermediate_size"]
        model.num_layers = options["num_hidden_layers"]
        model.num_attention_heads = heads
        model.num_query_groups = options.get("num_key_value_heads") or heads
        head_dim = options.get("head_dim")
        model.kv_channels = None if head_dim is None or head_dim * heads == model.hidden_size else head_dim
        model.max_position_embeddings = options["max_position_embeddings"]
        model.norm_epsilon = options["rms_norm_eps"]
        model.activation = _known(_GATED, options, "hidden_act")
        model.add_bias_linear = family is LLAMA and options["attention_bias"]
        model.add_qkv_bias = family is QWEN2
        model.qk_layernorm = family is QWEN3
        model.attention_dropout = float(options["attention_dropout"])
        read_rope(options, model)
    check_model(model)
    return family, model


def _refuse_unknown(family: Family, options: Options) -> None:
    """Options of the family that this project's model has not."""
    wanted: dict[str, Any] = {}
    if family is GPT2:
        wanted = {
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        }
    elif family is LLAMA:
        wanted = {"mlp_bias": options["attention_bias"]}
    elif family is QWEN3:
        wanted = {"attention_bias": False}
    for name, value in wanted.items():
        if options[name] != value:
            raise ConfigError(f"{family.name} with {name} {options[name]}", rule=f"only {name} {value} is converted")
    if family in (QWEN2, QWEN3) and _sliding(options):
        raise ConfigError(
            f"{family.name} with sliding-window attention", rule="only attention over the whole sequence is converted"
        )


def _sliding(options: Options) -> bool:
    kinds = options.get("layer_types")
    if kinds is not None:
        return any(kind != "full_attention" for kind in kinds)
    return bool(options["use_sliding_window"]) and options["max_window_layers"] < options["num_hidden_layers"]


def _first_key(table: Mapping[str, str], value: str) -> str:
    return next(key for key, ours in table.items() if ours == value)


def _known(table: Mapping[str, str], options: Options, name: str) -> str:
    value = options[name]
    if value not in table:
        raise ConfigError(f"{name} {value!r}", rule=f"{name} is one of {', '.join(table)}")
    return table[value]
