"""Which Hugging Face family a model is, and its options there and here."""

from __future__ import annotations

from typing import Any

from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.config.registry import Registry, shipped_in
from steel_megatron.huggingface.family import Family, Options

FAMILIES: Registry[Family] = Registry(
    "family",
    "steel_megatron.families",
    shipped_in("huggingface/families", "FAMILY"),
    wanted="a Family (steel_megatron.huggingface.family)",
    fits=lambda thing: isinstance(thing, Family),
)


def family_of(model: ModelConfig, given: str | None = None) -> Family:
    """The family that has every option of the model; only ``given`` is tried where one is.

    Raises:
        ConfigError: there is none; names the option that the nearest family has not.
    """
    families = [FAMILIES.load(name, "--family") for name in ([given] if given else FAMILIES.names())]
    nearest = min(families, key=lambda family: len(family.broken_rules(model)))
    lacking = nearest.broken_rules(model)
    if not lacking:
        return nearest
    what, who = ("no Hugging Face family has", f"the nearest, {nearest.name},")
    if given:
        what, who = (f"{nearest.name} does not have", nearest.name)
    *names, last = (family.name for family in families)
    raise ConfigError(
        f"{what} this model: " + ", ".join(f"{rule.option} is {getattr(model, rule.option)}" for rule in lacking),
        rule=f"{who} has " + ", ".join(f"{rule.option} {rule.wanted}" for rule in lacking),
        fix="a model for export is trained with the options of "
        f"{', '.join(names)}{' or ' if names else ''}{last} (docs/huggingface.md)",
    )


def family_named(model_type: str) -> Family:
    """The family of a ``model_type`` of config.json.

    Raises:
        ConfigError: it is none of those that are converted.
    """
    if model_type not in FAMILIES.names():  # a file that comes from elsewhere names no code to be run
        raise ConfigError(f"model_type {model_type!r}", rule=f"families are {', '.join(FAMILIES)}")
    return FAMILIES.load(model_type)


def write_options(family: Family, model: ModelConfig) -> dict[str, Any]:
    """The model's part of config.json, in the spelling of transformers 4.51 and of 5 at once."""
    assert model.vocab_size is not None, "vocab_size is set from the tokenizer before the model is built"
    return {
        "architectures": [family.architecture],
        "model_type": family.model_type,
        "vocab_size": model.vocab_size,
        "initializer_range": model.init_method_std,
        "tie_word_embeddings": model.tied,
        "use_cache": True,
        **family.write(model),
    }


def read_options(options: Options, given: str | None = None) -> tuple[Family, ModelConfig]:
    """Family and model of a complete config.json (defaults filled in, as ``PretrainedConfig.to_dict`` does).

    Args:
        given: the family, where the file's ``model_type`` is not to say it.

    Raises:
        ConfigError: another family, or an option that :class:`ModelConfig` has not.
    """
    family = FAMILIES.load(given, "--family") if given else family_named(str(options.get("model_type")))
    model = ModelConfig(
        vocab_size=options["vocab_size"],
        init_method_std=options["initializer_range"],
        untie_embeddings_and_output_weights=not options["tie_word_embeddings"],
        **family.read(options),
    )
    model.check()
    return family, model
