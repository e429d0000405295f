"""Ours and the peers are the same model, and each step trains it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from step_contender import Setting
from step_ours import OURS, our_step
from step_peers import PEERS, plain_step, training_step, transformers_model, transformers_step
from step_plain_llama import PlainLlama
from step_worker import CONTENDERS

from steel_megatron.config import RunConfig
from steel_megatron.model.gpt import GPT
from steel_megatron.ops import cpu_products
from steel_megatron.parallel.grid import Grid
from steel_megatron.training.loop import Trainer


class OneBatch(Setting):
    """The same batch again and again."""

    def batches(self, count: int = 1) -> list[torch.Tensor]:
        return super().batches(1)


def setting(**model: object) -> Setting:
    shape = {"num_layers": 2, "hidden_size": 32, "ffn_hidden_size": 48, "num_attention_heads": 4, "vocab_size": 128}
    config = RunConfig().replace(**{**shape, "num_query_groups": 2, "seq_length": 16, **model})
    return Setting(config, "cpu").of_micro_batch(2)


@pytest.mark.parametrize(
    "model",
    [
        {"untie_embeddings_and_output_weights": True},
        {"untie_embeddings_and_output_weights": False, "qk_layernorm": True, "kv_channels": 16},
    ],
    ids=["llama", "qwen3"],
)
def test_peers_have_our_shape(model: dict[str, object]) -> None:
    given = setting(**model)
    ours = GPT(given.config.model, Grid.single("cpu"), dtype=torch.float32, device="meta")
    peers = [PlainLlama(given.config.model), transformers_model(given, torch.float32)]
    counts = [sum(parameter.numel() for parameter in made.parameters()) for made in (ours, *peers)]
    assert counts == counts[:1] * 3


@pytest.mark.parametrize("how", [{}, {"autocast": True}, {"dtype": torch.float32}], ids=str)
def test_the_step_of_transformers_lowers_the_loss(how: dict[str, Any]) -> None:
    assert_learns(lambda given: transformers_step(given, **how))


@pytest.fixture
def without_amx(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """An Intel CPU with these instructions, whatever the machine is."""
    monkeypatch.setattr(cpu_products, "processor_flags", lambda: frozenset(request.param))
    monkeypatch.setattr(cpu_products, "processor_vendor", lambda: "GenuineIntel")
    monkeypatch.setattr(cpu_products.platform, "machine", lambda: "x86_64")
    monkeypatch.setenv(cpu_products.VARIABLE, "auto")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "")
    cpu_products.instruction.cache_clear()
    yield
    cpu_products.instruction.cache_clear()


@pytest.mark.parametrize("without_amx", [["avx512f"]], ids=str, indirect=True)
def test_a_cpu_without_bf16_leaves_out_the_peers_in_bf16(without_amx: None) -> None:
    missing = {contender.name: contender.missing("cpu") for contender in [*PEERS, *OURS[:3]]}
    for name, why in missing.items():
        ours_or_fp32 = name.startswith("steel") or "fp32" in name
        assert ("no instructions for bf16" in why) != (ours_or_fp32 or "Liger" in name)
    assert [name for name, why in missing.items() if not why][:2] == [
        "transformers, fp32",
        "transformers, fp32, torch.compile",
    ]
    assert all("16 bits are faster" in peer.missing("cuda") for peer in PEERS if "fp32" in peer.name)


@pytest.mark.parametrize("without_amx", [["avx512f", "avx512_bf16"]], ids=str, indirect=True)
def test_peers_in_bf16_run_where_torch_multiplies_it_slower_than_we_do(without_amx: None) -> None:
    """Ours casts there; which of a peer's precisions is its best is measured, not assumed."""
    assert cpu_products.cpu_in_fp32(torch.bfloat16)
    assert not any(peer.missing("cpu") for peer in PEERS if "bf16" in peer.name and "Liger" not in peer.name)


def test_the_plain_model_learns_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)
    assert_learns(plain_step)


def assert_learns(build) -> None:
    step = build(OneBatch(setting(num_layers=1).config, "cpu"))
    losses = [float(step()) for _ in range(12)]
    assert losses[-1] < losses[0]


def test_what_a_peer_needs_is_loaded_before_its_memory_is_measured() -> None:
    CONTENDERS["transformers, bf16"].load(setting(qk_layernorm=True, kv_channels=16))
    assert "transformers.models.qwen3.modeling_qwen3" in sys.modules


def test_a_step_clips_updates_and_forgets_its_gradients() -> None:
    given = setting()
    model = torch.nn.Linear(4, 1, bias=False)
    before = model.weight.detach().clone()
    step = training_step(model, lambda tokens: model(tokens[:, :4].float()).sum(), given)
    step()
    assert not torch.equal(model.weight, before)
    assert model.weight.grad is None


def test_our_step_is_the_trainers(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, float]] = []
    read = Trainer.read
    monkeypatch.setattr(Trainer, "read", lambda trainer: rows.extend(read(trainer)))
    step = our_step(setting(), {"kernel_backend": "torch", "log_interval": 2})
    for _ in range(4):
        step()
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(4.0 < row["loss"] < 6.0 and row["grad_norm"] > 0.0 for row in rows)  # ln 128 = 4.85
    assert all(row["loss_tokens"] == 2 * 16 for row in rows)
