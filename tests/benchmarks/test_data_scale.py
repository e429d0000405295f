"""The arithmetic of the benchmark of data preparation, and that its text is what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def data_scale(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import data_scale

    yield data_scale
    sys.modules.pop("data_scale")


def test_hours(data_scale: Any) -> None:
    assert data_scale.hours(3600, 0.0, 64) == pytest.approx(1 / 64)
    assert data_scale.hours(3600, 1.0, 64) == pytest.approx(1)
    assert data_scale.hours(36_000, 0.05, 64) == pytest.approx(10 * (0.05 + 0.95 / 64))


def test_what_one_run_took_more_is_never_below_nothing(data_scale: Any) -> None:
    more = data_scale.Took(9.0, 1.0, 0.5, 4.0).less(data_scale.Took(4.0, 1.5, 0.1, 1.0))
    assert (more.wall, more.main, more.workers) == (5.0, 0.0, 3.0)
    assert more.cpu == pytest.approx(3.4)


def test_documents_are_of_both_languages_and_as_many_as_asked(data_scale: Any, tmp_path: Path) -> None:
    data_scale.write_raw(tmp_path / "raw", data_scale.documents(0.3))
    assert 0.3 <= data_scale.text_megabytes(tmp_path / "raw") < 0.4
    [path] = (tmp_path / "raw").iterdir()
    texts = [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(set(texts)) == len(texts)
    chinese = [any("\u4e00" <= character <= "\u9fff" for character in text) for text in texts]
    assert 0.5 < sum(chinese) / len(chinese) < 1
