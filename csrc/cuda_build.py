"""Compiles the CUDA kernels: plain CUDA without torch's headers, so nvcc is all they need. For setup.py.

Variables:
    STEEL_CUDA_KERNELS: 0 leaves them out; 1 makes it an error if they cannot be built. Without it they are built where
        nvcc is, and a compiler that fails costs these kernels only.
    STEEL_CUDA_ARCHITECTURES: compute capabilities, and PTX for later ones, as "8.0 9.0+PTX".
    CUDA_HOME, CUDA_PATH: where CUDA is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Code of a capability runs on later ones of the same first digit. 8.9 is there because it rounds to 8 bits in hardware.
CAPABILITIES = ("8.0", "8.9", "9.0")
OPS = ROOT / "csrc" / "ops"
FLAGS = ["-std=c++17", "-O3", "-Xcompiler", "-fPIC,-Wall,-Wextra", f"-I{OPS}"]

WITHOUT_CUBLAS = (
    "8-bit weight gradients go through a temporary: cublasLt.h is not beside nvcc (apt install libcublas-dev)"
)


def build(output: Path, work: Path) -> str:
    """Builds the shared library if that is possible and wanted, else removes an earlier one; returns what was done.

    Args:
        work: where object files stay, so that the next build compiles what has changed.

    Raises:
        SystemExit: STEEL_CUDA_KERNELS=1 asks for what cannot be built.
    """
    asked = os.environ.get("STEEL_CUDA_KERNELS", "")
    nvcc = find_nvcc()
    if asked == "0":
        missing = "STEEL_CUDA_KERNELS is 0"
    elif nvcc is None:
        missing = "nvcc was not found"
    else:
        try:
            architectures = wanted_architectures(nvcc)
            left_out = "" if has_header(nvcc, "cublasLt.h") else f"; {WITHOUT_CUBLAS}"
            compile_library(nvcc, architectures, output, work)
            return f"built for compute capability {', '.join(architectures)}{left_out}"
        except subprocess.CalledProcessError as error:
            lines = error.stdout.strip().splitlines()
            print("\n".join(lines))
            missing = next((line for line in lines if "error" in line or "fatal" in line), f"{nvcc} failed").strip()
    output.unlink(missing_ok=True)
    if asked == "1":
        raise SystemExit(
            f"steel_megatron: the CUDA kernels are not built: {missing}\n"
            "  rule: STEEL_CUDA_KERNELS=1 asks for them, and they need nvcc of CUDA 11.8 or newer\n"
            "  fix:  install it, name its folder by CUDA_HOME=..., or leave STEEL_CUDA_KERNELS out"
        )
    return f"not built: {missing}"


def find_nvcc() -> str | None:
    """nvcc: that of CUDA_HOME or CUDA_PATH, on the path, or where NVIDIA's installer puts it."""
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    paths = [*(f"{home}/bin" for home in homes if home), None, "/usr/local/cuda/bin"]
    return next(filter(None, (shutil.which("nvcc", path=path) for path in paths)), None)


def has_header(nvcc: str, name: str) -> bool:
    """Whether nvcc finds a header by itself."""
    command = [nvcc, "-x", "cu", "-E", "-", "-o", os.devnull]
    return (
        subprocess.run(command, input=f"#include <{name}>\n", text=True, capture_output=True, check=False).returncode
        == 0
    )


def wanted_architectures(nvcc: str) -> list[str]:
    """Compute capabilities to compile for; "+PTX": later cards compile that one for themselves at first use.

    Raises:
        SystemExit: STEEL_CUDA_ARCHITECTURES is not of this form.
    """
    named = re.split(r"[\s,;]+", os.environ.get("STEEL_CUDA_ARCHITECTURES", "").strip())
    for name in filter(None, named):
        if not re.fullmatch(r"\d+\.\d[af]?(\+PTX)?", name):
            raise SystemExit(
                f"steel_megatron: STEEL_CUDA_ARCHITECTURES names {name!r}\n"
                '  rule: compute capabilities, with +PTX for later ones as well, as in "8.0 9.0+PTX"\n'
                "  fix:  write it like that, or leave it out"
            )
    if any(named):
        return named
    listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=False).stdout.split()
    known = [name for name in CAPABILITIES if f"sm_{name.replace('.', '')}" in listed]
    return [*known[:-1], f"{known[-1]}+PTX"] if known else ["8.0+PTX"]


def compile_library(nvcc: str, architectures: list[str], output: Path, work: Path) -> None:
    """Compiles the files side by side, as far as they have changed, and links them.

    Raises:
        subprocess.CalledProcessError: with what nvcc said in ``stdout``.
    """
    codes = [_generate_code(name) for name in architectures]
    served = f'-DSTEEL_CUDA_ARCHITECTURES="{" ".join(architectures)}"'
    command = [nvcc, *FLAGS, "--threads", str(len(codes)), *codes, served]
    work.mkdir(parents=True, exist_ok=True)
    record = work / "command.txt"
    same = record.exists() and record.read_text(encoding="utf-8") == "\n".join(command)
    headers = max(path.stat().st_mtime for path in [*OPS.glob("*.h"), *OPS.glob("cuda/*.cuh")])

    def compiled(source: Path) -> str:
        target = work / f"{source.stem}.o"
        newest = max(source.stat().st_mtime, headers)
        if not (same and target.exists() and target.stat().st_mtime > newest):
            _run([*command, "-c", str(source), "-o", str(target)])
        return str(target)

    if not same:
        record.unlink(missing_ok=True)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sorted(OPS.glob("cuda/*.cu"))))
    record.write_text("\n".join(command), encoding="utf-8")
    linked = work / output.name
    _run([nvcc, "-shared", *codes, *objects, "-o", str(linked)])
    shutil.copyfile(linked, output)


def _generate_code(architecture: str) -> str:
    number = architecture.removesuffix("+PTX").replace(".", "")
    codes = f"sm_{number}" + (f",compute_{number}" if architecture.endswith("+PTX") else "")
    return f"--generate-code=arch=compute_{number},code=[{codes}]"


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
