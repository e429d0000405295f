"""Builds the compiled parts: the C++ dataset builder always; kernels where their compilers are.

pyproject.toml holds everything else. What was built, and why a part was not, is printed (pip shows it with -v) and
written to steel_megatron/build_info.json, which ``steel doctor`` shows. csrc/cuda_build.py has the variables that
choose what is built for GPUs, csrc/parallel_build.py that for the number of compilers at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension
from setuptools import Extension, setup

ROOT = Path(__file__).parent
sys.path.insert(0, str(ROOT / "csrc"))
import cuda_build  # noqa: E402 - an isolated build does not look here by itself
from parallel_build import ParallelBuild  # noqa: E402

# Threads come from OpenMP, the pool that torch uses as well; square roots set no errno, so that loops are vectorised.
KERNEL_FLAGS = ["-fopenmp", "-fno-math-errno", "-fno-trapping-math"]


def extensions() -> list[Extension]:
    """A module _<folder> for every folder of csrc/ with C++ files."""
    folders = sorted({path.relative_to(ROOT / "csrc").parts[0] for path in (ROOT / "csrc").rglob("*.cpp")})
    return [cpp_extension(f"_{folder}", folder) for folder in folders]


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
    """Files in a folder of csrc/, relative to the repository, sorted."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc" / folder).rglob(f"*{suffix}"))


class BuildExtensions(ParallelBuild):
    """Builds, tells what was built, and leaves the record in the package."""

    def run(self) -> None:
        super().run()
        package = Path(self.get_ext_fullpath("steel_megatron._indexed")).parent
        record = {ext.name.rpartition(".")[2]: "built" for ext in self.extensions}
        record["cuda kernels"] = cuda_build.build(package / "_ops_cuda.so", Path(self.build_temp) / "cuda")
        for name, status in record.items():
            print(f"steel_megatron: {name}: {status}")
        (package / "build_info.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")

    def flags_of(self, source: str) -> list[str]:
        # Loops are elsewhere, and pybind11's templates take a third longer to compile at -O3.
        return ["-O1"] if source.endswith("binding.cpp") else []

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            raise SystemExit(
                f"steel_megatron: {ext.name} did not compile: {error}\n"
                "  rule: it needs a C++17 compiler\n"
                "  fix:  install one (apt install g++, or conda install cxx-compiler), or name it by CXX=..."
            ) from error


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildExtensions})
