"""The picture of a mixture: drawn for any plan, refused for another kind of file."""

from __future__ import annotations

from pathlib import Path

import pytest

from steel_megatron.config import ConfigError
from steel_megatron.reports.mix_figure import draw_mixture
from steel_megatron.samples.mixing.plan import MixPlan, PhaseShares, SourceShare

PLAN = MixPlan(
    1000,
    30,
    (SourceShare("web", 10, 20, 2.0, (10, 20)), SourceShare("百科", 0, 10, 0.0, ())),
    (PhaseShares(0, 10, {"web": 1.0}, {"web": 10}), PhaseShares(10, 30, {"web": 0.5, "百科": 0.5}, {"web": 10})),
)


@pytest.mark.parametrize(("suffix", "begins"), [(".svg", b"<?xml"), (".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_each_kind(tmp_path: Path, suffix: str, begins: bytes) -> None:
    pytest.importorskip("matplotlib")
    draw_mixture(PLAN, tmp_path / f"mix{suffix}")
    assert (tmp_path / f"mix{suffix}").read_bytes().startswith(begins)


def test_another_kind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--figure .*mix\.gif"):
        draw_mixture(PLAN, tmp_path / "mix.gif")
