"""Measuring in a process of its own: what breaks it costs one implementation, and is named."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from steel_megatron.config import ModelConfig, TrainingConfig
from steel_megatron.ops import backends
from steel_megatron.plan import measure_apart
from steel_megatron.plan.measure import Shape

CPU = torch.device("cpu")
MODEL = ModelConfig(
    num_layers=1, hidden_size=32, ffn_hidden_size=64, num_attention_heads=4, num_query_groups=2, vocab_size=64
)
SHAPE = Shape.of_run(MODEL, TrainingConfig(seq_length=16, micro_batch_size=1, precision="fp32"))
# In place of the module that is run: behaves as it is told, implementation by implementation.
PROCESS = """
import json, os, sys, time
done = {tuple(name) for name in json.loads(sys.argv[2])}
def say(**what):
    print(json.dumps({"steel": what}), flush=True)
print("a library that prints something", flush=True)
for operation, backend, kind in %s:
    if (operation, backend) in done:
        continue
    say(begin=[operation, backend])
    if kind == "crash":
        os.kill(os.getpid(), 11)
    if kind == "hang":
        time.sleep(60)
    if kind == "error":
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    say(outcome={"operation": operation, "backend": backend, kind: 0.5 if kind == "seconds" else "wrong by 3"})
say(end=True)
"""


@pytest.fixture
def process(monkeypatch, tmp_path):
    """Lets the process of its own be that program with these implementations."""

    def put(*implementations):
        program = tmp_path / "program.py"
        program.write_text(PROCESS % repr(implementations))
        real = measure_apart.subprocess.Popen

        def popen(command, **options):
            assert command[:3] == [sys.executable, "-m", "steel_megatron.plan.measure_apart"]
            assert not set(measure_apart.OF_TORCHRUN) & options["env"].keys()
            return real([sys.executable, str(program), *command[3:]], **options)

        monkeypatch.setattr(measure_apart.subprocess, "Popen", popen)
        monkeypatch.setenv("RANK", "0")

    return put


def test_a_kernel_that_ends_or_holds_up_the_process_is_left_out_and_the_rest_is_measured(process):
    process(
        ("rms_norm", "torch", "seconds"),
        ("rms_norm", "apex", "crash"),
        ("rms_norm", "te", "error"),
        ("rms_norm", "steel", "seconds"),
        ("rope", "torch", "seconds"),
        ("rope", "steel", "failed"),
        ("activation", "steel", "hang"),
    )
    record = measure_apart.measure_apart(CPU, SHAPE, limit=4.0)
    assert record["seconds"] == {"rms_norm": {"torch": 0.5, "steel": 0.5}, "rope": {"torch": 0.5}}
    assert record["failed"]["rms_norm"]["apex"] == "it ended the process (status -11)"
    assert "an illegal memory access" in record["failed"]["rms_norm"]["te"]
    assert record["failed"]["rope"] == {"steel": "wrong by 3"}
    assert record["failed"]["activation"]["steel"] == "it did not end in 4 seconds"


def test_a_run_measures_its_own_widths_and_type_but_no_more_than_it_must():
    found = Shape.unpacked(SHAPE.packed())
    assert found == SHAPE
    assert (found.batch, found.length, found.dtype) == (1, 16, torch.float32)
    large = ModelConfig(hidden_size=2048, num_attention_heads=16, kv_channels=128, vocab_size=151_936)
    shape = Shape.of_run(large, TrainingConfig(seq_length=2048, micro_batch_size=16, precision="fp16"))
    assert (shape.batch, shape.length, shape.dtype, shape.model.vocab_size) == (4, 2048, torch.float16, 65536)
    assert (shape.model.hidden_size, shape.model.head_dim) == (2048, 128)
    assert Shape.of_run(large, TrainingConfig(seq_length=32768)).length == 8192


def test_a_process_that_does_not_start_is_told(monkeypatch):
    real = measure_apart.subprocess.Popen
    monkeypatch.setattr(
        measure_apart.subprocess,
        "Popen",
        lambda command, **options: real([sys.executable, "-c", "raise RuntimeError('no GPU for two')"], **options),
    )
    with pytest.raises(measure_apart.MeasuringError, match="no GPU for two"):
        measure_apart.measure_apart(CPU, SHAPE)


def test_the_process_itself(monkeypatch, capsys):
    """What it prints, in this process, on small shapes."""
    monkeypatch.setattr(measure_apart, "SECONDS", 1e-4)
    measure_apart.main("cpu", json.dumps([["rms_norm", "steel"]]), SHAPE.packed())
    lines = [json.loads(line)["steel"] for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == {"end": True}
    begun = [tuple(line["begin"]) for line in lines if "begin" in line]
    outcomes = [(line["outcome"]["operation"], line["outcome"]["backend"]) for line in lines if "outcome" in line]
    assert ("rms_norm", "torch") in begun
    assert ("rms_norm", "steel") not in [*begun, *outcomes]
    assert set(begun) <= set(outcomes)
    assert all(name in backends.OPERATIONS[operation].backends for operation, name in outcomes)
