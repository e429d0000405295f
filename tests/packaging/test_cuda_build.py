"""When the CUDA kernels are built, for which cards, and what a compiler that fails costs; nvcc is a script here."""

from __future__ import annotations

import importlib.util
import os
import stat
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NVCC = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
  *--list-gpu-code*) echo {codes}; exit 0 ;;
  *norm.cu*) if [ -n "{error}" ]; then echo "norm.cu(3): {error}"; exit 2; fi ;;
esac
while [ "$1" != -o ]; do shift; done
echo built > "$2"
"""


def module():
    spec = importlib.util.spec_from_file_location("cuda_build", ROOT / "csrc" / "cuda_build.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


cuda_build = module()


@pytest.fixture
def nvcc(tmp_path, monkeypatch):
    """Puts an nvcc that fails with ``error``, if that is said, at a CUDA_HOME; returns what was run so far."""

    def put(error="", codes="sm_80 sm_86 sm_89 sm_90 sm_120"):
        script = tmp_path / "cuda" / "bin" / "nvcc"
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(NVCC.format(log=tmp_path / "log", error=error, codes=codes))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))

        def ran():
            lines = (tmp_path / "log").read_text().splitlines()
            (tmp_path / "log").unlink()
            return lines

        return ran

    for name in ("STEEL_CUDA_KERNELS", "STEEL_CUDA_ARCHITECTURES", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    return put


def build(tmp_path):
    return cuda_build.build(tmp_path / "_ops_cuda.so", tmp_path / "work")


def test_they_are_built_where_nvcc_is_and_only_what_changed_again(nvcc, tmp_path):
    ran = nvcc()
    assert build(tmp_path) == "built for compute capability 8.0, 8.9, 9.0+PTX"
    assert (tmp_path / "_ops_cuda.so").exists()
    commands = ran()
    files = sorted((ROOT / "csrc" / "ops").glob("cuda/*.cu"))
    assert len([line for line in commands if " -c " in line]) == len(files)
    assert "arch=compute_90,code=[sm_90,compute_90]" in commands[-1]
    build(tmp_path)
    assert [line for line in ran() if " -c " in line] == []
    os.utime(tmp_path / "work" / "rope.o", (0, 0))
    build(tmp_path)
    assert len([line for line in ran() if " -c " in line]) == 1


def test_an_older_compiler_builds_what_it_knows(nvcc, tmp_path):
    nvcc(codes="sm_70 sm_80 sm_86")
    assert build(tmp_path) == "built for compute capability 8.0+PTX"


def test_without_the_header_of_cublas_that_is_said(nvcc, tmp_path):
    nvcc()
    script = tmp_path / "cuda" / "bin" / "nvcc"
    finds_none = 'case "$*" in "-x cu -E"*) exit 1 ;; esac'
    script.write_text(script.read_text().replace("\n", f"\n{finds_none}\n", 1))
    assert build(tmp_path) == f"built for compute capability 8.0, 8.9, 9.0+PTX; {cuda_build.WITHOUT_CUBLAS}"
    assert (tmp_path / "_ops_cuda.so").exists()


@pytest.mark.skipif(cuda_build.find_nvcc() is None, reason="nvcc was not found")
def test_a_header_that_is_there_and_one_that_is_not():
    assert cuda_build.has_header(cuda_build.find_nvcc(), "cuda_runtime.h")
    assert not cuda_build.has_header(cuda_build.find_nvcc(), "no_such_header.h")


def test_architectures_can_be_named(nvcc, tmp_path, monkeypatch):
    ran = nvcc()
    monkeypatch.setenv("STEEL_CUDA_ARCHITECTURES", "9.0a;12.0+PTX")
    assert build(tmp_path) == "built for compute capability 9.0a, 12.0+PTX"
    assert "arch=compute_90a,code=[sm_90a]" in ran()[-1]
    monkeypatch.setenv("STEEL_CUDA_ARCHITECTURES", "sm_90")
    with pytest.raises(SystemExit, match=r"names 'sm_90'(.|\n)*rule:(.|\n)*fix:"):
        build(tmp_path)


def test_a_compiler_that_fails_costs_the_kernels_only(nvcc, tmp_path, monkeypatch, capfd):
    nvcc(error="fatal error: unsupported GNU version!")
    (tmp_path / "_ops_cuda.so").touch()  # of an earlier build
    assert build(tmp_path) == "not built: norm.cu(3): fatal error: unsupported GNU version!"
    assert not (tmp_path / "_ops_cuda.so").exists()
    assert "unsupported GNU version" in capfd.readouterr().out
    monkeypatch.setenv("STEEL_CUDA_KERNELS", "1")
    with pytest.raises(SystemExit, match=r"unsupported GNU version(.|\n)*fix:"):
        build(tmp_path)


def test_without_nvcc_or_where_they_are_not_wanted(nvcc, tmp_path, monkeypatch):
    monkeypatch.setattr(cuda_build.shutil, "which", lambda name, path=None: None)
    assert build(tmp_path) == "not built: nvcc was not found"
    nvcc()
    monkeypatch.setenv("STEEL_CUDA_KERNELS", "0")
    assert build(tmp_path) == "not built: STEEL_CUDA_KERNELS is 0"
