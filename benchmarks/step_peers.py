"""Peers: transformers, plain torch under torch.compile, Liger-Kernel; each with torch's fused AdamW.

Those in bf16, but for autocast, hold weights, gradients and moments in it and no fp32 masters: less memory and work
than ours. On a CPU there are peers in fp32 as well, and those in bf16 where it has instructions for it.
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

from steel_megatron.ops import cpu_products


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

    from steel_megatron.huggingface.options import family_of, write_options

    options = write_options(family_of(setting.config.model), setting.config.model)
    shape = AutoConfig.for_model(options.pop("model_type"), **{**options, "use_cache": False})
    with torch.device(setting.device):
        model = AutoModelForCausalLM.from_config(shape, attn_implementation=attention_of(setting.device))
    return model.to(setting.device, dtype).train()


def transformers_step(
    setting: Setting, dtype: torch.dtype = torch.bfloat16, autocast: bool = False, compiled: bool = False
) -> Step:
    """Logits, then torch's cross entropy in fp32, as the library's own loss does."""
    model: Any = transformers_model(setting, torch.float32 if autocast else dtype)
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

    from steel_megatron.huggingface.options import family_of

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


def slow_bf16(device: str) -> str:
    """Why bf16 would say nothing about a peer on a kind of device: it would take minutes for a step."""
    bf16 = torch.bfloat16
    slow = device == "cpu" and not (cpu_products.instruction(bf16) or cpu_products.slow_instruction(bf16))
    return "this CPU has no instructions for bf16: torch multiplies it far slower than fp32" if slow else ""


def bf16_missing(device: str) -> str:
    """Why transformers cannot run in bf16."""
    return installed("transformers") or slow_bf16(device)


def fp32_missing(device: str) -> str:
    """Why transformers does not run in fp32."""
    return installed("transformers") or ("" if device == "cpu" else "16 bits are faster on any GPU")


def fp32_step(setting: Setting, compiled: bool = False) -> Step:
    """transformers with weights, gradients and moments in fp32."""
    return transformers_step(setting, torch.float32, compiled=compiled)


def _liger_missing(device: str) -> str:
    if device != "cuda":
        return "Liger-Kernel needs a GPU"
    return installed("transformers") or installed("liger_kernel")


def load_transformers(setting: Setting) -> None:
    """The module of the model's class; transformers loads it only when it is first used."""
    from steel_megatron.huggingface.options import family_of

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
    peer("bf16", transformers_step, bf16_missing),
    peer("fp32", fp32_step, fp32_missing),
    Contender("plain torch, bf16, torch.compile", plain_step, slow_bf16, slow_start=True, load=load_compiler),
    peer("Liger-Kernel, bf16", liger_step, _liger_missing),
    peer("bf16 autocast", lambda setting: transformers_step(setting, autocast=True), bf16_missing),
    peer("bf16, torch.compile", lambda setting: transformers_step(setting, compiled=True), bf16_missing, True),
    peer("fp32, torch.compile", lambda setting: fp32_step(setting, compiled=True), fp32_missing, True),
]
