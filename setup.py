"""Builds the compiled parts: the C++ dataset builder always; kernels where their compilers are.

pyproject.toml holds everything else. What was built, and why a part was not, is printed (pip shows it with -v) and
written to steel_megatron/build_info.json, which ``steel doctor`` shows.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from pybind11.setup_helpers import Pybind11Extension
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
# Threads come from OpenMP, the pool that torch uses as well; square roots set no errno, so that loops are vectorised.
KERNEL_FLAGS = ["-fopenmp", "-fno-math-errno", "-fno-trapping-math"]


class Part(NamedTuple):
    """A compiled part; ``missing`` says why it is not built and is empty where it is."""

    name: str
    extension: Extension | None
    missing: str = ""


def parts() -> list[Part]:
    """Every compiled part of the package. A folder of C++ in csrc/ is a module of its name with a line before it."""
    folders = sorted({path.parent.name for path in (ROOT / "csrc").glob("*/*.cpp")})
    modules = [Part(f"_{folder}", cpp_extension(f"_{folder}", folder)) for folder in folders]
    return [*modules, Part("cuda kernels", None, why_no_cuda())]


def cpp_extension(name: str, folder: str) -> Extension:
    """A pybind11 module steel_megatron.<name> of all C++ files of a folder of csrc/."""
    flags = KERNEL_FLAGS if folder == "ops" and sys.platform == "linux" else []
    return Pybind11Extension(
        f"steel_megatron.{name}",
        sources(folder, ".cpp"),
        include_dirs=[f"csrc/{folder}", "csrc"],
        depends=[*sources(folder, ".h"), *sources("common", ".h")],
        cxx_std=17,
        extra_compile_args=["-O3", *flags],
        extra_link_args=flags[:1],
    )


def sources(folder: str, suffix: str) -> list[str]:
    """Files of a folder of csrc/, relative to the repository, sorted."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc" / folder).glob(f"*{suffix}"))


def cuda_command(output: Path) -> list[str]:
    """Compiles the CUDA kernels, plain CUDA without torch's headers, into a shared library for sm_80 and sm_90."""
    architectures = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ("80", "90a")]
    flags = [
        "-std=c++17",
        "-O3",
        "-shared",
        "-Xcompiler",
        "-fPIC,-Wall,-Wextra",
        "-Werror",
        "all-warnings",
        "--threads",
        "0",
    ]
    return ["nvcc", *flags, *architectures, *sources("ops", ".cu"), "-o", str(output)]


def why_no_cuda() -> str:
    """What is missing for CUDA kernels; empty when nothing is."""
    if not sources("ops", ".cu"):
        return "this version has none yet"
    if shutil.which("nvcc") is None:
        return "nvcc was not found"
    if importlib.util.find_spec("torch") is None:
        return "nvcc was found, but the build sees no torch (use pip install --no-build-isolation)"
    import torch

    # The kernels need no torch to compile, but nothing else would load them.
    return "" if torch.version.cuda else f"nvcc was found, but torch {torch.__version__} has no CUDA"


class BuildExtensions(build_ext):
    """Builds, tells what was built, and leaves the record in the package."""

    def run(self) -> None:
        super().run()
        package = Path(self.get_ext_fullpath("steel_megatron._indexed")).parent
        if not PARTS[-1].missing:
            subprocess.run(cuda_command(package / "_ops_cuda.so"), check=True, cwd=ROOT)
        record = {part.name: f"not built: {part.missing}" if part.missing else "built" for part in PARTS}
        for name, status in record.items():
            print(f"steel_megatron: {name}: {status}")
        (package / "build_info.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            raise SystemExit(
                f"steel_megatron: {ext.name} did not compile: {error}\n"
                "  rule: it needs a C++17 compiler\n"
                "  fix:  install one (apt install g++, or conda install cxx-compiler), or name it by CXX=..."
            ) from error


PARTS = parts()
setup(
    ext_modules=[part.extension for part in PARTS if part.extension is not None],
    cmdclass={"build_ext": BuildExtensions},
)
