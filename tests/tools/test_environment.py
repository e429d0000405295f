"""What make installs into its environments."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", ROOT / "tools" / "environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_extras_may_name_other_extras_and_torch_is_named_apart(environment: ModuleType) -> None:
    project = {
        "dependencies": ["torch>=2.11", "numpy"],
        "optional-dependencies": {
            "plot": ["matplotlib>=3.8"],
            "table": ["pyarrow", "torch-geometric"],
            "dev": ["steel-megatron[plot,table]", "pytest>=8"],
        },
    }
    assert environment.requirements(project, []) == ["numpy"]
    needed = ["matplotlib>=3.8", "numpy", "pyarrow", "pytest>=8", "torch-geometric"]
    assert environment.requirements(project, ["dev"]) == needed
    with pytest.raises(KeyError, match="demo"):
        environment.requirements(project, ["demo"])


def test_the_demo_needs_no_more_than_it_imports(environment: ModuleType) -> None:
    project = environment.read_project()
    beside = set(environment.requirements(project, ["demo"])) - set(environment.requirements(project, []))
    assert {line.split(">")[0] for line in beside} == {"matplotlib", "pyarrow"}


def test_another_index_is_asked_where_one_is_named(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_INDEX", raising=False)
    assert environment.index_options() == []
    monkeypatch.setenv("TORCH_INDEX", "https://mirror.example/torch")
    assert environment.index_options() == ["--extra-index-url", "https://mirror.example/torch"]
