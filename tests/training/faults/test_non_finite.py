"""A gradient that is not finite: what is said of it, and the ways past it, on every layout and over every stop."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from helpers.curves import assert_same_checkpoint, curve
from helpers.poisoned import POISON, poisoned_run, write_poisoned_tokens
from helpers.tiny_run import run_config, train, write_tokens
from steel_megatron.model.ffn.mlp import MLP
from steel_megatron.parallel.pipeline.executor import Output
from steel_megatron.training.engine import GPTStage
from steel_megatron.training.output.metrics_rows import read_metrics

BOTH_WAYS = ["--skip-samples", "43:44", "--skip-samples", "45:46", "--max-skipped-steps", "1"]
LAYOUTS = {
    "dp2-nozero": (2, ["--no-use-distributed-optimizer"]),
    "tp2-pp2": (4, ["--tensor-model-parallel-size", "2", "--pipeline-model-parallel-size", "2"]),
    "dp2": (2, []),
    "tp2-sp-dp2": (4, ["--tensor-model-parallel-size", "2", "--sequence-parallel"]),
    "pp2-vpp-dp2": (4, ["--pipeline-model-parallel-size", "2", "--num-layers-per-virtual-pipeline-stage", "1"]),
    "full": (1, ["--recompute-granularity", "full"]),
}


def told(output: str) -> list[str]:
    """The lines of the error, without where files are."""
    lines = output[output.index("error: step") :].splitlines()
    end = next(number for number, line in enumerate(lines) if line.startswith("  fix:"))
    return [re.sub(r"\(/.*?\)", "", line) for line in lines[: end + 1]]


def warned(output: str) -> list[str]:
    """The lines on the one step that was left out."""
    (start,) = re.finditer(r"^step \d+: the gradient", output, re.M)
    lines = output[start.start() :].splitlines()
    return lines[: next(number for number, line in enumerate(lines) if "this step is left out" in line) + 1]


def advice(output: str, flag: str) -> list[str]:
    """The words of an advised flag and its values."""
    match = re.search(rf"{flag}((?: [\w:.+-]+)+?)(?= \(| to |,|$|;)", told(output)[-1])
    assert match is not None, output
    return [flag, *shlex.split(match[1])]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_the_error_names_place_and_documents_and_its_advice_works(tmp_path: Path, precision: str) -> None:
    config = poisoned_run(tmp_path, precision=precision, log_interval=5)
    output = train(config, status=2)
    assert told(output)[:4] == [
        "error: step 6: the gradient is not finite; first in embedding, forward pass, with samples 43, 45 of 40 to 47",
        "  weights that are not finite: embedding.weight",
        "  sample 43: source data , document 280",
        "  sample 45: source data , documents 140, 141",
    ]
    again = train(config, *advice(output, "--skip-samples"), status=2)
    assert "continuing" in again
    assert "error: step 9" in again
    assert "with sample 66 of 66 to 73" in again
    words = advice(again, "--skip-samples")
    assert words == ["--skip-samples", "43:44", "45:46", "66:67"]
    train(config, *words)
    assert read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["step"] == 12
    other = ["--save", str(tmp_path / "other")]
    stopped = train(config, *other, "--max-skipped-steps", "1", status=2)
    assert "error: step 9" in stopped
    assert "left out before: 1 steps (6)" in stopped
    train(config, *other, *advice(stopped, "--max-skipped-steps"))
    assert [row["step"] for row in read_metrics(tmp_path / "other" / "metrics.jsonl") if row["skipped"]] == [6, 9]


@pytest.mark.parametrize(
    "layouts",
    [["dp2-nozero", "tp2-pp2"], pytest.param(["dp2", "tp2-sp-dp2", "pp2-vpp-dp2", "full"], marks=pytest.mark.slow)],
    ids=["two", "more"],
)
def test_every_layout_says_and_computes_the_same(tmp_path: Path, layouts: list[str]) -> None:
    """What is warned of a step that is left out is what an error says of the one at which a run stops."""
    config = poisoned_run(tmp_path, num_layers=4)
    first = train(config, *BOTH_WAYS, "--save", str(tmp_path / "one"))
    one = curve(tmp_path / "one")
    assert [row["step"] for row in one if row["skipped"]] == [9]
    for name in layouts:
        processes, flags = LAYOUTS[name]
        output = train(config, *flags, *BOTH_WAYS, "--save", str(tmp_path / name), processes=processes)
        assert warned(output) == warned(first), name
        rows = curve(tmp_path / name)
        assert [row["skipped"] for row in rows] == [row["skipped"] for row in one]
        for row, expected in zip(rows, one, strict=True):
            if not expected["skipped"]:
                assert row["loss"] == pytest.approx(expected["loss"], rel=1e-5), name
                assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4), name


def test_all_ranks_stop_with_one_error(tmp_path: Path) -> None:
    config = poisoned_run(tmp_path, micro_batch_size=1)
    assert told(train(config, processes=2, status=2)) == told(train(config, "--save", str(tmp_path / "one"), status=2))


@pytest.mark.parametrize(("precision", "processes"), [("bf16", 2), ("fp16", 1)])
def test_a_stop_anywhere_continues_bitwise(tmp_path: Path, precision: str, processes: int) -> None:
    """Without the flag after the first stop: the checkpoint has the ranges, and how many steps were left out."""
    config = poisoned_run(tmp_path, precision=precision, exp_avg_dtype="bf16")
    train(config, *BOTH_WAYS, "--save", str(tmp_path / "whole"), processes=processes)
    cut = ["--save", str(tmp_path / "cut")]
    train(config, *cut, *BOTH_WAYS, "--exit-interval", "5", processes=processes)
    train(config, *cut, "--max-skipped-steps", "1", "--exit-interval", "9", processes=processes)
    train(config, *cut, "--max-skipped-steps", "1", processes=processes)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "cut", 12)
    facts = json.loads((tmp_path / "cut" / "step_0000012" / "facts.json").read_text())
    assert facts["config"]["data"]["skip_samples"] == ["43:44", "45:46"]
    assert facts["skipped_steps"] == [
        {"step": 9, "samples": ["66:74"], "at_fault": [66], "where": "embedding, forward pass"}
    ]


def test_what_is_used_already_is_not_left_out(tmp_path: Path) -> None:
    config = run_config(tmp_path, eval_iters=0)
    train(config, "--save", str(tmp_path / "whole"))
    train(config, "--exit-interval", "5")
    output = train(config, "--skip-samples", "8:16", "30:40")
    assert "--skip-samples 8:16: samples before 16 are used already" in output
    assert "--skip-samples 30:40: samples before 40 are used already" in output
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")
    facts = json.loads((tmp_path / "run" / "step_0000012" / "facts.json").read_text())
    assert facts["config"]["data"]["skip_samples"] == []


def test_samples_that_are_left_out_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from steel_megatron.cli.main import main

    config = run_config(tmp_path, eval_iters=0, train_iters=4)
    train(config, "--skip-samples", "8:12", "20:21", "2:3")
    capsys.readouterr()
    assert main(["inspect", "--run", str(tmp_path / "run"), "--step", "2", "--json"]) == 0
    samples = [sample["sample"] for sample in json.loads(capsys.readouterr().out)["samples"]]
    assert samples == [13, 14, 15, 16, 17, 18, 19, 21]


def test_a_backward_pass_that_goes_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted in the gradient of the activation's output, for the samples with the token."""
    write_poisoned_tokens(tmp_path / "data", (43,))
    under_way: list[torch.Tensor] = []
    forward, activate = GPTStage.forward, MLP._activate

    def remembering(self: GPTStage, hidden: torch.Tensor | None, batch, settings) -> Output:
        under_way[:] = [(batch.tokens_BS == POISON).any(1)]
        return forward(self, hidden, batch, settings)

    def breaking(self: MLP, up: torch.Tensor) -> torch.Tensor:
        out, bad_B = activate(self, up), under_way[0]
        if self.down.weight is last_down[0]:
            out.register_hook(lambda grad: grad.masked_fill(bad_B[:, None, None], float("inf")))
        return out

    last_down: list[torch.Tensor | None] = [None]
    made = MLP.__init__

    def noting(self: MLP, config, layer: int, *args, **kwargs) -> None:
        made(self, config, layer, *args, **kwargs)
        if layer == 1:
            last_down[0] = self.down.weight

    monkeypatch.setattr(GPTStage, "forward", remembering)
    monkeypatch.setattr(MLP, "_activate", breaking)
    monkeypatch.setattr(MLP, "__init__", noting)
    output = train(run_config(tmp_path, eval_iters=0, precision="fp32", split="100,0,0"), status=2)
    assert "first in block 1, MLP down projection, backward pass, with sample 43 of 40 to 47" in output
    assert advice(output, "--skip-samples") == ["--skip-samples", "43:44"]


def test_a_fault_that_does_not_come_again_is_no_fault_of_the_data(tmp_path: Path, monkeypatch) -> None:
    steps, forward = [0], GPTStage.forward

    def once(self: GPTStage, hidden: torch.Tensor | None, batch, settings) -> Output:
        steps[0] += 1
        loss, samples = forward(self, hidden, batch, settings)
        return Output(loss * float("nan") if steps[0] == 22 else loss, samples)

    config = run_config(tmp_path, eval_iters=0, precision="fp32")
    with monkeypatch.context() as patch:
        patch.setattr(GPTStage, "forward", once)
        output = train(config, status=2)
    assert "step 6: the gradient is not finite; computed again, it is finite (samples 40 to 47)" in output
    assert "give the same command again" in output
    assert "step 12/12" in train(config)


def test_weights_that_are_not_finite_and_runs_that_diverge(tmp_path: Path) -> None:
    config = poisoned_run(tmp_path, tuple(range(96)), train_iters=4)
    output = train(config, status=2)
    assert "first in embedding, forward pass, with all of samples 0 to 7" in output
    assert "weights that are not finite: embedding.weight" in output
    assert "fix:  start from other weights" in output


def test_a_run_that_diverges_goes_back_with_a_lower_rate(tmp_path: Path) -> None:
    config = run_config(tmp_path, eval_iters=0, precision="fp32")
    wild = train(config, "--lr", "1e38", "--clip-grad", "0", "--lr-warmup-iters", "0", status=2)
    assert "the run has diverged" in wild
    assert "start again with --lr 1e+37" in wild
    train(config, "--exit-interval", "9")
    wild = train(config, "--lr", "1e38", "--clip-grad", "0", status=2)
    assert "error: step 11: " in wild
    assert advice(wild, "--ckpt-step") == ["--ckpt-step", "8", "--branch", "lr_1e+37", "--lr", "1e+37"]
    followed = train(config, "--clip-grad", "0", *advice(wild, "--ckpt-step"), status=2)
    assert "back to step 8" in followed
    assert advice(followed, "--ckpt-step") == ["--ckpt-step", "4", "--branch", "lr_1e+36", "--lr", "1e+36"]
    train(config, "--ckpt-step", "4")


def test_gradients_that_fp16_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steel_megatron.optim.loss_scaler._PATIENCE", 6)
    config = run_config(tmp_path, eval_iters=0, precision="fp16")
    output = train(config, "--loss-scale", "1e30", status=2)
    assert "error: step 6: the gradient is not finite; first in head and loss, backward pass, with all of" in output
    assert "give the same command again with --bf16, or without --loss-scale" in output
    train(config, "--bf16", "--loss-scale", "1e30")


def test_phases_and_ramp_ups_with_samples_left_out_are_cut_anywhere(tmp_path: Path) -> None:
    """Some of the ranges are given from the start, the others in time, and none at last."""
    for number, name in enumerate("ab"):
        write_tokens(tmp_path / name, seed=number)
    phases = tmp_path / "phases.yaml"
    sources = f"{{a: {{path: {tmp_path / 'a'}, weight: 0.7}}, b: {{path: {tmp_path / 'b'}, weight: 0.3}}}}"
    phases.write_text(f"- sources: {sources}\n- {{from: 50, sources: {{b: 1}}}}\n")
    length = {"train_iters": None, "train_samples": 120, "rampup_batch_size": [2, 2, 60], "eval_iters": 0}
    config = run_config(tmp_path, phases=str(phases), data_path=None, **length)
    ranges = ["3:9", "45:55", "70:71", "500:600"]
    train(config, "--save", str(tmp_path / "whole"), "--skip-samples", *ranges)
    cut = ["--save", str(tmp_path / "cut")]
    train(config, *cut, "--skip-samples", *ranges[:2], "--exit-interval", "7")
    train(config, *cut, "--skip-samples", *ranges[2:], "--exit-interval", "11")
    train(config, *cut)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    assert curve(tmp_path / "cut")[-1]["consumed_samples"] == 120
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "cut", len(curve(tmp_path / "whole")))
