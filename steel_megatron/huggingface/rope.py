"""RoPE options as transformers 4 and 5 spell them.

Version 4 has ``rope_theta`` and ``rope_scaling``, version 5 ``rope_parameters`` with both inside. What is written holds
the two spellings; what is read may have either.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from steel_megatron.config import ConfigError, ModelConfig
from steel_megatron.config.model import ROPE_SCALINGS

log = logging.getLogger(__name__)

_TYPES = {"default": "none", "linear": "linear", "llama3": "llama3", "yarn": "yarn"}


def write_rope(model: ModelConfig) -> dict[str, Any]:
    """The RoPE part of config.json, in both spellings."""
    kind = model.rope_scaling_type
    if kind == "none":
        scaling: dict[str, Any] | None = None
        parameters: dict[str, Any] = {"rope_type": "default"}
    else:
        values = {name: getattr(model, f"rope_scaling_{name}") for name in ROPE_SCALINGS[kind]}
        scaling = {"rope_type": kind} | {name: value for name, value in values.items() if value is not None}
        parameters = dict(scaling)
    reach = model.rope_scaling_factor * model.rope_scaling_original_max_position_embeddings
    if kind == "yarn" and reach != model.max_position_embeddings:
        log.warning(
            "max_position_embeddings %d is not rope_scaling_factor × original length = %g: transformers before 5 takes "
            "their quotient for yarn's factor and computes something else",
            model.max_position_embeddings,
            reach,
        )
    return {
        "rope_theta": model.rotary_base,
        "rope_scaling": scaling,
        "rope_parameters": parameters | {"rope_theta": model.rotary_base},
    }


def read_rope(options: Mapping[str, Any]) -> dict[str, Any]:
    """The model's RoPE knobs from config.json in either spelling.

    Raises:
        ConfigError: a kind of scaling, or a setting of it, that is not implemented here.
    """
    parameters = dict(options.get("rope_parameters") or options.get("rope_scaling") or {})
    nested = [name for name, value in parameters.items() if isinstance(value, dict)]
    if nested:
        raise ConfigError(f"RoPE with settings of its own for {', '.join(nested)}", rule="all layers have the same")
    kind = parameters.get("rope_type") or parameters.get("type") or "default"
    if kind not in _TYPES:
        raise ConfigError(f"RoPE scaling {kind!r}", rule=f"it is one of {', '.join(_TYPES)}")
    share = parameters.get("partial_rotary_factor", options.get("partial_rotary_factor"))
    if share not in (None, 1.0):
        raise ConfigError(f"partial_rotary_factor {share}", rule="Llama and Qwen rotate whole heads")
    theta = parameters.get("rope_theta", options.get("rope_theta"))
    knobs: dict[str, Any] = {
        "rotary_base": 10000.0 if theta is None else float(theta),
        "rope_scaling_type": _TYPES[kind],
    }
    for name in ROPE_SCALINGS[_TYPES[kind]]:
        value, knob = parameters.get(name), f"rope_scaling_{name}"
        if name == "original_max_position_embeddings":
            knobs[knob] = int(value or options["max_position_embeddings"])
        elif value is not None:
            knobs[knob] = float(value)
    return knobs | (_read_yarn(parameters, options, knobs) if kind == "yarn" else {})


def _read_yarn(parameters: Mapping[str, Any], options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, float]:
    """What yarn derives from other settings when its own are not given."""
    if not parameters.get("truncate", True):
        raise ConfigError("yarn with truncate False", rule="the range of blended channels is rounded outwards")
    original = known["rope_scaling_original_max_position_embeddings"]
    factor = known.get("rope_scaling_factor", options["max_position_embeddings"] / original)
    found: dict[str, float] = {"rope_scaling_factor": factor}
    scale, scale_all = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if parameters.get("attention_factor") is None and scale and scale_all:
        found["rope_scaling_attention_factor"] = _temperature(factor, scale) / _temperature(factor, scale_all)
    return found


def _temperature(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1.0 else 0.1 * scale * math.log(factor) + 1.0
