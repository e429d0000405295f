"""``steel verify``: which layouts are tried, what is printed and written, and with which status it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from steel_megatron.cli.main import main
from steel_megatron.config import RunConfig
from steel_megatron.verify import processes
from steel_megatron.verify.layouts import Layout, Outcome, default_layouts

SMALL = ["--num-layers", "2", "--hidden-size", "64", "--num-attention-heads", "4", "--num-query-groups", "2"]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The layouts that are asked for. They are not trained: each agrees, but ``nozero`` differs and ``gpipe`` fails."""
    asked: list[str] = []

    def verify(config: RunConfig, layouts: Sequence[Layout], device: str) -> Iterator[Outcome]:
        assert device == "cpu"
        assert config.training.train_iters == 2
        for layout in layouts:
            asked.append(layout.name)
            outcome = Outcome(layout.name, losses=[5.0, 4.0], gradient_norms=[1.0, 1.0], seconds=1.25)
            if "nozero" in layout.switches:
                outcome.loss_difference, outcome.weight_difference = float("nan"), float("inf")
            outcome.error = "rank 1: planted" if "gpipe" in layout.switches else ""
            yield outcome

    monkeypatch.setattr(processes, "verify", verify)
    monkeypatch.chdir(tmp_path)
    return asked


def say(*words: str) -> int:
    return main(["verify", "--steps", "2", "--device", "cpu", *words])


def test_layouts_that_agree(tried: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert say("--world-size", "2", "--layouts", "tp2; dp2,mbs1;", "--certificate", "out/proof", *SMALL) == 0
    assert tried == ["tp2", "dp2,mbs1"]
    told = capsys.readouterr().out
    row = "| dp2,mbs1 | 2 | 0.0e+00 | 0.0e+00 | 0.0e+00 | 1.2 | agrees |"
    assert row in told.splitlines()
    assert "2 layouts on cpu, 2 steps each" in told
    assert "every layout agrees" in told
    assert "out/proof.json and out/proof.md" in told
    written = Path("out/proof.md").read_text()
    assert row in written.splitlines()
    assert "Every layout agrees." in written
    proof = json.loads(Path("out/proof.json").read_text())
    assert (proof["agrees"], [layout["losses"] for layout in proof["layouts"]]) == (True, [[5.0, 4.0]] * 2)
    assert proof["model"]["num_query_groups"] * 2 == proof["model"]["num_attention_heads"]


def test_a_layout_that_differs_or_fails(tried: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert say("--world-size", "2", "--layouts", "dp2,nozero;pp2,gpipe;dp2", *SMALL) == 1
    told = capsys.readouterr().out
    assert "| dp2,nozero | 2 | nan | 0.0e+00 | inf | 1.2 | DIFFERS |" in told.splitlines()
    assert "| pp2,gpipe | 2 | | | | | FAILED |\n\nrank 1: planted\n" in told
    assert "LAYOUTS DIFFER: loss within nan" in told
    assert "LAYOUTS DIFFER." in Path("steel_verify.md").read_text()

    def no_json(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    proof = json.loads(Path("steel_verify.json").read_text(), parse_constant=no_json)
    assert [layout["agrees"] for layout in proof["layouts"]] == [False, False, True]
    assert proof["largest differences"] == {"loss": None, "gradient norm": 0.0, "weights": None}


def test_all_sensible_layouts_that_the_model_can_have(tried: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    odd = ["--hidden-size", "96", "--num-attention-heads", "3", "--num-query-groups", "3"]
    assert say("--world-size", "2", *odd) == 1  # the planted ones are among them
    names = [layout.name for layout in default_layouts(2)]
    assert tried == [name for name in names if not name.startswith("tp2")]
    told = capsys.readouterr().out
    left_out = [line for line in told.splitlines() if line.startswith("left out")]
    assert [line.split("divided so: ")[1].split(" (")[0] for line in left_out] == [n for n in names if n[:3] == "tp2"]
    assert "3 heads" in left_out[0]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--layouts", " ; "], "--layouts ' ; '"),
        (["--layouts", "dp2;tp2,pp2"], "layout tp2,pp2 with --world-size 2\n  fix:  --world-size 4"),
        (["--layouts", "dp2;two"], "'two'"),
        (["--hidden-size", "100", "--num-attention-heads", "3"], "hidden"),
        (["--certificate", "file/proof"], "file"),
    ],
)
def test_what_cannot_be_verified_is_told_before_any_layout_is_trained(
    tried: list[str], capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    Path("file").touch()
    assert say("--world-size", "2", *words) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert (tried, captured.out) == ([], "")
    assert [path.name for path in Path().iterdir()] == ["file"]


def test_three_processes_and_a_layout_that_they_cannot_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is planted here."""
    prefix = tmp_path / "proof"
    arguments = ["verify", "--world-size", "3", "--steps", "2", "--certificate", str(prefix)]
    assert main([*arguments, "--layouts", "dp2;tp3;dp2,nozero"]) == 1  # 8 heads over 3 ranks
    output = capsys.readouterr().out
    assert "8 heads over 3 tensor-parallel ranks" in output
    assert output.count("| agrees |") == 2  # the layouts around it are still verified
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert proof["agrees"] is False
    assert [layout["agrees"] for layout in proof["layouts"]] == [True, False, True]
    assert "LAYOUTS DIFFER" in (tmp_path / "proof.md").read_text()
