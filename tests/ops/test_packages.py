"""Why a package or a GPU cannot be used."""

from __future__ import annotations

import sys

import pytest
import torch

from steel_megatron.ops.packages import NEEDS_GPU, why_no_gpu, why_not_importable


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "modules", dict(sys.modules))

    def write(name: str, source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        return name

    yield write
    why_not_importable.cache_clear()


def test_functions_are_looked_for(package):
    name = package("steel_kernels_there", "def run(): ...\nlimit = 3\n")
    assert why_not_importable(name, functions=("run",)) is None
    assert why_not_importable(name, functions=("run", "limit")) == f"{name} is installed but broken: it has no limit"


def test_what_a_package_itself_lacks_is_its_fault(package):
    name = package("steel_kernels_lacking", "import steel_no_such_module\n")
    assert "broken: No module named 'steel_no_such_module'" in str(why_not_importable(name))
    assert why_not_importable("steel_no_such_module.part") == "steel_no_such_module.part is not installed"
    silent = package("steel_kernels_silent", "raise RuntimeError\n")
    assert why_not_importable(silent) == f"{silent} is installed but broken: RuntimeError"


def test_a_folder_that_was_left_is_not_a_package(package, tmp_path):
    (tmp_path / "steel_left_over").mkdir()
    found = why_not_importable("steel_left_over", functions=("run",))
    assert found == "steel_left_over is not installed: another package has left a folder of this name"


@pytest.mark.parametrize(
    ("capability", "range_", "said"),
    [
        ((8, 0), {}, None),
        ((7, 5), {}, "it needs compute capability 8.0, not 7.5"),
        ((9, 0), {"least": (9, 0), "below": (10, 0)}, None),
        ((10, 0), {"least": (9, 0), "below": (10, 0)}, "it needs compute capability 9.0, below 10.0, not 10.0"),
    ],
)
def test_cards(monkeypatch, capability, range_, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert why_no_gpu("cuda", **range_) == said
    assert why_no_gpu("cpu", **range_) == NEEDS_GPU
