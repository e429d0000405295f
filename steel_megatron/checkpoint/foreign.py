"""Folders that are no run's, known by what lies in them: checkpoints of other frameworks, and a checkpoint alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from steel_megatron.checkpoint.files import FACTS, MARKER
from steel_megatron.config import CheckpointError

STEEL_STEP = re.compile(r"step_(\d{7,})")
IMPORT = "steel import --hf THAT --save RUN, and train with --pretrained-checkpoint RUN"


class Foreign(NamedTuple):
    """What a folder is, and how its weights come into a run."""

    what: str
    fix: str


def refuse_foreign(folder: Path, flag: str) -> None:
    """Raises for a folder that is known to be something else than a run's.

    Args:
        folder: need not exist.
        flag: that named it, as ``--load``.

    Raises:
        CheckpointError: what it is, and the command that takes it.
    """
    found = recognise(folder)
    if found is not None:
        raise CheckpointError(
            f"{flag} {folder} is {found.what}",
            rule="it takes the folder of a run: what --save named, with checkpoints step_0001000 … in it",
            fix=found.fix,
        )


def not_hugging_face(folder: Path) -> CheckpointError:
    """The error for a folder without config.json that was given to ``--hf``."""
    rule = "a Hugging Face model folder has a config.json"
    if any(STEEL_STEP.fullmatch(name) for name in _names(folder)):
        return CheckpointError(
            f"--hf {folder} is the folder of a run",
            rule=rule,
            fix=f"--load {folder} for generate; train takes it with --save or --pretrained-checkpoint; steel export "
            f"--load {folder} --output THAT makes a Hugging Face folder of it",
        )
    found = recognise(folder)
    if found is not None:
        return CheckpointError(f"--hf {folder} is {found.what}", rule=rule, fix=found.fix)
    return CheckpointError(f"{folder} holds no config.json", rule=rule, fix="check the path given to --hf")


def recognise(folder: Path) -> Foreign | None:
    """What a folder is that is not a run's; None where that is not known."""
    names = _names(folder)
    if any(STEEL_STEP.fullmatch(name) for name in names):
        return None
    return next((found for kind in KINDS if (found := kind(folder, names)) is not None), None)


def _converted(what: str, tools: str) -> Foreign:
    """A checkpoint that comes here by way of Hugging Face's form."""
    return Foreign(what, f"make a Hugging Face folder of it with {tools}; {IMPORT}")


def _steel(folder: Path, names: set[str]) -> Foreign | None:
    if not {MARKER, FACTS} <= names:
        return None
    step = STEEL_STEP.fullmatch(folder.name)
    which = f" and its step ({int(step[1])}): --ckpt-step for train, --step for others" if step else ""
    return Foreign("one checkpoint, not the folder of its run", f"give the folder around it, {folder.parent},{which}")


def _megatron(folder: Path, names: set[str]) -> Foreign | None:
    iterations = sorted(name for name in names if re.fullmatch(r"iter_\d{7}|release", name))
    inside = names
    if iterations:
        inside = _names(folder / iterations[-1])
    elif "latest_checkpointed_iteration.txt" not in names and not re.fullmatch(r"iter_\d{7}", folder.name):
        return None
    if any(name.startswith("mp_rank_") for name in inside):
        form = "legacy, mp_rank_…"
    elif "common.pt" in inside or "metadata.json" in inside or ".metadata" in inside:
        form = "torch_dist" if any(name.endswith(".distcp") for name in inside) else "distributed"
    elif "latest_checkpointed_iteration.txt" in names:
        form = "no iteration in it that is known"
    else:
        return None
    return _converted(f"a checkpoint folder of Megatron-LM ({form})", "Megatron Bridge (AutoBridge.export_ckpt)")


def _nanotron(folder: Path, names: set[str]) -> Foreign | None:
    inside = [names, *(_names(folder / name) for name in names if name.isdigit())]
    if not any("checkpoint_metadata.json" in one or {"model_config.json", "model"} <= one for one in inside):
        return None
    return _converted("a checkpoint of nanotron", "nanotron's examples/llama/convert_nanotron_to_hf.py")


def _deepspeed(folder: Path, names: set[str]) -> Foreign | None:
    inside = set().union(*(_names(folder / name) for name in names if name.startswith("global_step")))
    if not any(re.fullmatch(r"(bf16_)?zero_pp_rank_.*|mp_rank_.*_model_states\.pt", name) for name in names | inside):
        return None
    return _converted("a checkpoint of DeepSpeed", "its zero_to_fp32.py, then save_pretrained of transformers")


def _hugging_face(folder: Path, names: set[str]) -> Foreign | None:
    if "adapter_config.json" in names:
        return Foreign(
            "an adapter for a Hugging Face model, not a model",
            f"join it with its model (merge_and_unload of peft, save_pretrained); {IMPORT}",
        )
    weights = any(name.endswith(".safetensors") or re.fullmatch(r"pytorch_model.*\.bin", name) for name in names)
    if "config.json" not in names or not (weights or names & _INDEXES or _names_a_model(folder / "config.json")):
        return None
    return Foreign(
        "a Hugging Face folder",
        f"steel import --hf {folder} --save RUN makes a run's folder of it, for --pretrained-checkpoint RUN; "
        f"steel generate --hf {folder} takes it as it is",
    )


def _litgpt(folder: Path, names: set[str]) -> Foreign | None:
    if "lit_model.pth" not in names:
        return None
    return _converted("a checkpoint of LitGPT", "litgpt convert_from_litgpt, save_pretrained of transformers")


def _dcp(folder: Path, names: set[str]) -> Foreign | None:
    places = [folder, *(folder / name for name in names if re.fullmatch(r"step[-_]?\d+", name))]
    inside = set().union(*(_names(place) | _names(place / "model_and_optim") for place in places))
    if ".metadata" not in inside or not any(name.endswith(".distcp") for name in inside):
        return None
    return _converted(
        "a checkpoint of torch.distributed.checkpoint (DCP), as torchtitan and OLMo-core write them",
        "the tools of what wrote it (torchtitan: scripts/checkpoint_conversion/convert_to_hf.py)",
    )


def _trainer(folder: Path, names: set[str]) -> Foreign | None:
    steps = [int(name.removeprefix("checkpoint-")) for name in names if re.fullmatch(r"checkpoint-\d+", name)]
    if not steps:
        return None
    newest = folder / f"checkpoint-{max(steps)}"
    found = _hugging_face(newest, _names(newest))
    return found and Foreign("a folder of checkpoints of Hugging Face's Trainer", found.fix)


def _nemo(folder: Path, names: set[str]) -> Foreign | None:
    inside = [names, *(_names(folder / name) for name in names if "step=" in name or name.endswith("-last"))]
    if not any({"weights", "context"} <= one or any(name.endswith(".nemo") for name in one) for one in inside):
        return None
    return _converted("a checkpoint of NeMo", "NeMo's llm.export_ckpt")


def _files(folder: Path, names: set[str]) -> Foreign | None:
    """Weights in single files, from the form that is known best to that of which nothing is known."""
    for form, what, way in _FILES:
        if any(re.fullmatch(form, name) for name in names):
            return _converted(what, way)
    return None


def _names_a_model(config: Path) -> bool:
    try:
        options = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(options, dict) and bool({"model_type", "architectures"} & options.keys())


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


_WEIGHTS = r"(pytorch_model|model|checkpoint|ckpt)([-_.].*)?\.(bin|pt|pth)|.*\.(safetensors|pth)"
# Names of files, what they are, and what makes a Hugging Face folder of them.
_FILES = (
    (r".*\.gguf", "a model of llama.cpp (GGUF)", "from_pretrained with gguf_file=, save_pretrained of transformers"),
    (r"consolidated\..*", "a model in the form of Meta and Mistral", "convert_llama_weights_to_hf.py of transformers"),
    (r".*\.ckpt", "a checkpoint of PyTorch Lightning", "load_state_dict, save_pretrained of transformers"),
    (_WEIGHTS, "weights of another program", "load_state_dict, save_pretrained of transformers"),
)
_INDEXES = {"model.safetensors.index.json", "pytorch_model.bin.index.json"}
# The first that knows a folder names it. DCP's files lie in Megatron's and NeMo's folders too, so it
# comes behind them, and single files are looked at last.
KINDS: tuple[Callable[[Path, set[str]], Foreign | None], ...] = (
    *(_steel, _nemo, _megatron, _nanotron, _deepspeed, _hugging_face, _trainer, _litgpt, _dcp, _files),
)
