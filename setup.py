"""Builds the compiled parts: the C++ dataset builder always; kernels where their compilers are.

pyproject.toml holds everything else. What was built, and why a part was not, is printed and written to
steel_megatron/build_info.json, which ``steel doctor`` shows.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent


def sources(folder: str, *suffixes: str) -> list[str]:
    """Source files of a folder of csrc/, relative to the repository, sorted."""
    found = [path for suffix in suffixes for path in (ROOT / "csrc" / folder).glob(f"*{suffix}")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def extension(name: str, folder: str) -> Pybind11Extension:
    """A pybind11 module steel_megatron.<name> of all C++ files of a folder of csrc/."""
    return Pybind11Extension(
        f"steel_megatron.{name}",
        sources(folder, ".cpp"),
        include_dirs=[f"csrc/{folder}"],
        depends=sources(folder, ".h"),
        cxx_std=17,
        extra_compile_args=["-O3"],
    )


def cuda_status() -> str:
    """Whether CUDA kernels can be built here, in words."""
    if not sources("ops", ".cu"):
        return "not built: this version has no CUDA kernels yet"
    if shutil.which("nvcc") is None:
        return "not built: nvcc was not found"
    if importlib.util.find_spec("torch") is None:
        return "not built: torch is not visible to the build (use pip install --no-build-isolation)"
    import torch

    if torch.version.cuda is None:
        return f"not built: nvcc was found, but torch {torch.__version__} has no CUDA"
    return "built"


class BuildExtensions(build_ext):
    """Builds, tells what was built, and leaves the record beside the package."""

    def run(self) -> None:
        super().run()
        parts = {extension.name.rpartition(".")[2]: "built" for extension in self.extensions}
        parts["cuda kernels"] = cuda_status()
        for name, status in parts.items():
            print(f"steel_megatron: {name}: {status}")
        package = Path(self.get_ext_fullpath("steel_megatron._indexed")).parent
        package.mkdir(parents=True, exist_ok=True)
        (package / "build_info.json").write_text(json.dumps(parts, indent=2) + "\n", encoding="utf-8")


setup(ext_modules=[extension("_indexed", "indexed")], cmdclass={"build_ext": BuildExtensions})
