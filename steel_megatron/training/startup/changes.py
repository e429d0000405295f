"""In which knobs a run differs from the checkpoint that it takes up, and what follows from that."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from steel_megatron.config import KNOBS, CheckpointError, ModelConfig, RunConfig
from steel_megatron.config.knob import FIXED, LISTED, MODEL, TOLD, Knob
from steel_megatron.config.layer_types import shortest
from steel_megatron.config.model import ROPE_SCALINGS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change:
    """A knob whose value in the checkpoint is another."""

    knob: Knob
    was: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.knob.name} {_plain(self.was)} → {_plain(self.now)}"

    @property
    def flag(self) -> str:
        """What brings the checkpoint's value back."""
        if self.was is None:
            return f"no {self.knob.flag}"
        if isinstance(self.was, bool):
            return self.knob.flag if self.was else f"--no-{self.knob.flag[2:]}"
        return f"{self.knob.flag} {_plain(self.was)}"


def changes(saved: Mapping[str, Mapping[str, Any]], config: RunConfig) -> list[Change]:
    """The knobs that differ in effect, in the order of their declaration.

    Args:
        saved: sections of the checkpoint's configuration; a knob that they do not have is not compared.
    """
    before, after = _in_effect(saved), _in_effect(config.to_dict())
    return [
        Change(knob, before[name], after[name])
        for name, knob in KNOBS.items()
        if name in before and name in after and before[name] != after[name]
    ]


def check_changes(where: Path, saved: Mapping[str, Any], config: RunConfig, continues: bool) -> dict[str, list[Any]]:
    """Refuses a checkpoint of another model, and tells what else has changed.

    Args:
        where: the checkpoint's folder.
        saved: its configuration.
        continues: the run goes on with it; otherwise it takes only the weights.

    Returns:
        What ``--override-checkpoint-model`` let pass: knob → value there, value here.

    Raises:
        CheckpointError: the weights do not fit, or would compute something else.
    """
    found = changes(saved, config)
    fixed = [change for change in found if change.knob.changed == FIXED]
    if fixed:
        raise CheckpointError(
            f"{where} holds another model: {_sides(fixed)}",
            rule="a checkpoint is continued with the model it was made of",
            fix=f"give {' '.join(change.flag for change in fixed)}; or another --save or --load folder",
        )
    other = [change for change in found if change.knob.changed == MODEL]
    if other and not config.checkpoint.override_checkpoint_model:
        raise CheckpointError(
            f"{where} was trained with other options of the model: {_sides(other)}",
            rule="with other options than they were trained with, the same weights compute something else",
            fix=f"give {' '.join(change.flag for change in other)}; or --override-checkpoint-model, if that is meant",
        )
    for change in other:
        log.warning("--override-checkpoint-model: %s", change)
    for change in found:
        if change.knob.changed == TOLD or (continues and change.knob.changed == LISTED):
            log.info("changed since the checkpoint: %s", change)
    return {change.knob.name: [change.was, change.now] for change in other}


def cut_changes(saved: Mapping[str, Mapping[str, Any]], config: RunConfig) -> list[str]:
    """What has changed of the knobs that say how samples are cut from the data, for an error message."""
    return [
        f"{change.knob.flag} was {_plain(change.was)}, is {_plain(change.now)}"
        for change in changes(saved, config)
        if change.knob.name in ("seq_length", "split", "packing")
    ]


def _sides(found: list[Change]) -> str:
    return "; ".join(f"{c.knob.name} {_plain(c.was)} there, {_plain(c.now)} here" for c in found)


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, float) and float(f"{value:g}") == value:
        return f"{value:g}"
    return "unset" if value is None else str(value)


def _in_effect(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Values by knob, where two ways to say the same are one and what is not looked at is left out."""
    values = {name: value for section in sections.values() for name, value in section.items()}
    known = {field.name for field in fields(ModelConfig)}
    model = ModelConfig(**{name: value for name, value in sections["model"].items() if name in known})
    values["num_query_groups"], values["kv_channels"] = model.query_groups, model.head_dim
    values["layer_types"], values["mlp_layer_types"] = map(shortest, (model.attention_kinds, model.feed_forward_kinds))
    for name in _unused(model):
        values.pop(name, None)
    return values


def _unused(model: ModelConfig) -> Iterator[str]:
    used = ROPE_SCALINGS[model.rope_scaling_type]
    rope = model.position_embedding_type == "rope"
    for name in KNOBS:
        kind, _, option = name.partition("rope_scaling_")
        idle = not kind and option != "type" and option not in used
        if idle or (not rope and name.startswith(("rope_", "rotary_"))):
            yield name
