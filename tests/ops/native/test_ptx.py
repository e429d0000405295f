"""What nvcc makes of the CUDA kernels: 16-byte accesses where the source says so, registers, no spills.

A line ``// PTX: registers <= N, loads 16, stores 16`` stands above a kernel and holds for all its instances; the widths
hold for those that take whole packs. No GPU is needed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

OPS = Path(__file__).parents[3] / "csrc" / "ops"
SOURCES = sorted(path for path in OPS.glob("cuda/*.cu") if "__global__" in path.read_text(encoding="utf-8"))
PROMISE = re.compile(
    r"// PTX: registers <= (?P<registers>\d+)(?P<loads>, loads 16)?(?P<stores>, stores 16)?\n"
    r"(?:template <[^>]*>\n)?__global__ void (?:__launch_bounds__\((?:[^()]|\([^()]*\))*\)\s+)?(?P<name>\w+)\("
)
pytestmark = pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc was not found")


@dataclass
class Instance:
    """A kernel as compiled for sm_80."""

    name: str
    whole_packs: bool
    registers: int
    spilled: int
    loads: int
    stores: int


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Instances by source."""
    folder = tmp_path_factory.mktemp("ptx")
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(SOURCES, pool.map(lambda path: instances(path, folder / path.stem), SOURCES), strict=True))


def instances(source: Path, folder: Path) -> list[Instance]:
    folder.mkdir()
    command = ["nvcc", "-std=c++17", "-O3", f"-I{OPS}", "-arch=sm_80", "-cubin", "-Xptxas", "-v"]
    done = subprocess.run(
        [*command, "--keep", f"--keep-dir={folder}", "-o", str(folder / "cubin"), str(source)],
        capture_output=True,
        text=True,
        check=True,
    )
    ptx = (folder / f"{source.stem}.ptx").read_text()
    bodies = dict(re.findall(r"\.entry (\w+)\(.*?\{(.*?)\n\}", ptx, re.DOTALL))
    told = re.findall(
        r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?Used (\d+) registers",
        done.stdout + done.stderr,
        re.DOTALL,
    )
    assert {entry for entry, *_ in told} == set(bodies)
    names = subprocess.run(["c++filt", *bodies], capture_output=True, text=True, check=True).stdout.splitlines()
    plain = dict(zip(bodies, names, strict=True))
    return [
        instance(plain[entry], bodies[entry], int(registers), int(stored) + int(loaded))
        for entry, stored, loaded, registers in told
    ]


def instance(plain: str, body: str, registers: int, spilled: int) -> Instance:
    """``plain``: as ``void (anonymous namespace)::forward<float, 4, …>(…)``; the first number is a pack's elements."""
    found = re.search(r"(\w+)(<.*>)?\((?!anonymous)", plain)
    assert found is not None, plain
    elements = re.search(r"<[^>]*?, (\d+)[,>]", found[2] or "")
    wide = {kind: len(re.findall(rf"{kind}\.global[.\w]*\.v(?:4\.[ubf]32|2\.[ubf]64)", body)) for kind in ("ld", "st")}
    return Instance(found[1], elements is None or elements[1] != "1", registers, spilled, wide["ld"], wide["st"])


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_nothing_spills(compiled, source):
    assert compiled[source]
    assert [found for found in compiled[source] if found.spilled] == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_the_source_keeps_its_promises(compiled, source):
    text = source.read_text(encoding="utf-8")
    promises = {found["name"]: found for found in PROMISE.finditer(text)}
    assert len(promises) == text.count("// PTX:"), "a promise is not read: it stands above template and __global__"
    for name, promise in promises.items():
        own = [found for found in compiled[source] if found.name == name]
        assert own, name
        assert [found for found in own if found.registers > int(promise["registers"])] == []
        packs = [found for found in own if found.whole_packs]
        assert not promise["loads"] or [found for found in packs if not found.loads] == []
        assert not promise["stores"] or [found for found in packs if not found.stores] == []
