"""Peers: transformers, plain torch under torch.compile, Liger-Kernel; each with torch's fused AdamW.

All but the autocast one hold weights, gradients and moments in bf16 and no fp32 masters: less memory and less work than
ours.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from step_contender import Contender, Setting, Step
from step_plain_llama import PlainLlama
from torch import Tensor, nn


def installed(package: str) -> str:
    """Empty where a package can be imported; else what to say."""
    return "" if importlib.util.find_spec(package) else f"{package} is not installed"


def training_step(model: nn.Module, loss_of: Callable[[Tensor], Tensor], setting: Setting) -> Step:
    """Forward, backward, clipping and fused AdamW; nothing waits for the device."""
    batches = itertools.cycle(setting.batches())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def step() -> Tensor:
        loss = loss_of(next(batches))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def attention_of(device: str) -> str:
    """The fastest attention that transformers has here."""
    flash = device == "cuda" and not installed("flash_attn")
    return "flash_attention_2" if flash else "sdpa"


def transformers_model(setting: Setting, dtype: torch.dtype) -> nn.Module:
    """The model class that our shape is exported to, made on the device."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from steel_megatron.convert.families import family_of, write_options

    options = write_options(family_of(setting.config.model), setting.config.model)
    shape = AutoConfig.for_model(options.pop("model_type"), **{**options, "use_cache": False})
    with torch.device(setting.device):
        model = AutoModelForCausalLM.from_config(shape, attn_implementation=attention_of(setting.device))
    return model.to(setting.device, dtype).train()


def transformers_step(setting: Setting, autocast: bool = False, compiled: bool = False) -> Step:
    """Logits, then torch's cross entropy in fp32, as the library's own loss does."""
    model: Any = transformers_model(setting, torch.float32 if autocast else torch.bfloat16)
    if compiled:
        model.compile()

    def loss_of(tokens: Tensor) -> Tensor:
        with torch.autocast(setting.device, torch.bfloat16, enabled=autocast):
            logits = model(input_ids=tokens[:, :-1]).logits
            return F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())

    return training_step(model, loss_of, setting)


def liger_step(setting: Setting) -> Step:
    """transformers patched by Liger-Kernel: norm, RoPE, SwiGLU, head and cross entropy fused."""
    import liger_kernel.transformers as liger

    from steel_megatron.convert.families import family_of

    getattr(liger, f"apply_liger_kernel_to_{family_of(setting.config.model).model_type}")()
    model: Any = transformers_model(setting, torch.bfloat16)
    # Its fused loss takes labels that are the inputs, and shifts them itself.
    return training_step(model, lambda tokens: model(input_ids=tokens[:, :-1], labels=tokens[:, :-1]).loss, setting)


def plain_step(setting: Setting) -> Step:
    """Plain torch under torch.compile: the whole loss on a CPU; layer by layer on a GPU, where that compiles sooner."""
    with torch.device(setting.device):
        model = PlainLlama(setting.config.model).to(torch.bfloat16)
    if setting.device == "cuda":
        for layer in model.layers:
            layer.compile()
        head_loss = torch.compile(model.head_loss)
        return training_step(
            model, lambda tokens: head_loss(model.hidden(tokens[:, :-1]), tokens[:, 1:].contiguous()), setting
        )
    loss_of = torch.compile(lambda tokens: model.head_loss(model.hidden(tokens[:, :-1]), tokens[:, 1:]))
    return training_step(model, loss_of, setting)


def _transformers_missing(device: str) -> str:
    return installed("transformers")


def _liger_missing(device: str) -> str:
    if device != "cuda":
        return "Liger-Kernel needs a GPU"
    return installed("transformers") or installed("liger_kernel")


def load_transformers(setting: Setting) -> None:
    """The module of the model's class; transformers loads it only when it is first used."""
    from steel_megatron.convert.families import family_of

    model_type = family_of(setting.config.model).model_type
    importlib.import_module(f"transformers.models.{model_type}.modeling_{model_type}")


def load_compiler(setting: Setting) -> None:
    """torch.compile loads itself only when it is first used."""
    importlib.import_module("torch._inductor.compile_fx")


def load_both(setting: Setting) -> None:
    load_transformers(setting)
    load_compiler(setting)


def peer(
    name: str, build: Callable[[Setting], Step], missing: Callable[[str], str], compiled: bool = False
) -> Contender:
    """A peer that is a model of transformers."""
    return Contender(f"transformers, {name}", build, missing, compiled, load_both if compiled else load_transformers)


PEERS = [
    peer("bf16", transformers_step, _transformers_missing),
    Contender("plain torch, bf16, torch.compile", plain_step, slow_start=True, load=load_compiler),
    peer("Liger-Kernel, bf16", liger_step, _liger_missing),
    peer("bf16 autocast", lambda setting: transformers_step(setting, autocast=True), _transformers_missing),
    peer("bf16, torch.compile", lambda setting: transformers_step(setting, compiled=True), _transformers_missing, True),
]
