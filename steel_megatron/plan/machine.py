"""What a machine has, as plain facts. A probe that fails tells why in the place of its facts and stops nothing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import steel_megatron
from steel_megatron.config.instruction_set import INSTRUCTION_SET_VARIABLE

Facts = dict[str, Any]

PACKAGE = Path(steel_megatron.__file__).parent
PACKAGES = {  # name for pip → module
    **{name: name for name in ("transformers", "tokenizers", "safetensors", "sentencepiece", "tiktoken", "numpy")},
    **{name: name for name in ("tensorboard", "pyarrow", "matplotlib", "wandb", "triton")},
    "flash-attn": "flash_attn",
    "flash-attn-3": "flash_attn_interface",
    "flash-attn-4": "flash_attn.cute",
    "transformer-engine": "transformer_engine",
    "apex": "apex",
}
OPTIONAL = (
    *("pyarrow", "matplotlib", "wandb", "triton"),
    *("flash-attn", "flash-attn-3", "flash-attn-4", "transformer-engine", "apex"),
)


def describe_machine() -> dict[str, Any]:
    """All facts, section by section; JSON-able. Sizes are in bytes."""
    probes: dict[str, Callable[[], Any]] = {
        "system": system,
        "cpu": cpu,
        "memory": memory,
        "torch": torch_build,
        "gpus": gpus,
        "gpu_driver": gpu_driver,
        "communication": communication,
        "compilers": compilers,
        "compiled_parts": compiled_parts,
        "packages": packages,
        "backends": backends,
        "storage": storage,
    }
    return {name: attempt(probe) for name, probe in probes.items()}


def attempt(probe: Callable[[], Any]) -> Any:
    """The probe's result, or ``{"error": …}``."""
    try:
        return probe()
    except Exception as error:  # a report on a broken machine must not break on it
        return {"error": f"{type(error).__name__}: {error}"}


def system() -> Facts:
    """Operating system, Python and this package."""
    release = Path("/etc/os-release")
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', release.read_text(), re.M) if release.is_file() else None
    return {
        "os": name.group(1) if name else platform.system(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "executable": sys.executable,
        "steel_megatron": steel_megatron.__version__,
        "folder": str(PACKAGE),
    }


def cpu() -> Facts:
    """Cores, those this process may use, and the vector instructions that matter here."""
    text = _read("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
    listed = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.M)
    flags = set(listed.group(1).split() if listed else ())
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "model": model.group(1) if model else platform.processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "instructions": [
            name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "neon", "sve") if name in flags
        ],
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def memory() -> Facts:
    """Main memory, and the container's limit if there is one."""
    sizes = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", _read("/proc/meminfo"), re.M)}
    limit = _read("/sys/fs/cgroup/memory.max").strip() or _read("/sys/fs/cgroup/memory/memory.limit_in_bytes").strip()
    total = sizes.get("MemTotal")
    bounded = limit.isdigit() and total is not None and int(limit) < total
    return {
        "total": total,
        "available": sizes.get("MemAvailable"),
        "container_limit": int(limit) if bounded else None,
    }


def torch_build() -> Facts:
    """The torch that is installed and what it was built for."""
    import torch

    cuda = torch.version.cuda
    return {
        "version": torch.__version__,
        "build": f"CUDA {cuda}" if cuda else f"ROCm {torch.version.hip}" if torch.version.hip else "CPU only",
        "cudnn": torch.backends.cudnn.version() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def gpus() -> list[Facts]:
    """The GPUs that torch sees."""
    import torch

    if not torch.cuda.is_available():
        return []
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        found.append(
            {
                "name": properties.name,
                "memory": total,
                "free": free,
                "capability": f"{properties.major}.{properties.minor}",
                "multiprocessors": properties.multi_processor_count,
            }
        )
    return found


def gpu_driver() -> Facts:
    """What the NVIDIA driver tells, whether or not torch can use it; empty where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return {}
    lines = _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader").splitlines()
    pairs = [line.rsplit(", ", 1) for line in lines if ", " in line]
    links = sorted(set(re.findall(r"\b(NV\d+|PIX|PXB|PHB|NODE|SYS)\b", _matrix(_output("nvidia-smi", "topo", "-m")))))
    return {
        "names": [name for name, _ in pairs],
        "version": pairs[0][1] if pairs else None,
        "links": links,  # between GPUs: NV12 = 12 NVLinks; PIX … SYS: PCIe, near … far
    }


def communication() -> Facts:
    """The communication libraries in torch."""
    import torch
    import torch.distributed as dist

    if not dist.is_available():
        return {"gloo": None, "nccl": None}
    nccl = None
    if dist.is_nccl_available() and torch.cuda.is_available():
        nccl = ".".join(map(str, torch.cuda.nccl.version()))
    return {"gloo": dist.is_gloo_available(), "nccl": nccl}


def compilers() -> Facts:
    """First line of the version of each compiler found."""
    commands = {"c++": ("c++", "--version"), "nvcc": ("nvcc", "--version"), "ninja": ("ninja", "--version")}
    found = {}
    for name, command in commands.items():
        lines = _output(*command).splitlines() if shutil.which(command[0]) else []
        release = next((line for line in lines if "release" in line), lines[0] if lines else None)
        found[name] = release.strip() if release else None
    return found


def compiled_parts() -> Facts:
    """Whether the dataset builder loads, the instruction set that was chosen, and what the build said of each part."""
    try:
        importlib.import_module("steel_megatron._indexed")
        loads: str = "loads"
    except ImportError as error:
        missing = importlib.util.find_spec("steel_megatron._indexed") is None
        loads = "not built" if missing else f"does not load: {error}"
    try:
        chosen = importlib.import_module("steel_megatron._ops").instruction_set
    except ImportError as error:
        chosen = f"unknown ({error})"
    cap = os.environ.get(INSTRUCTION_SET_VARIABLE)
    record = PACKAGE / "build_info.json"
    build = json.loads(record.read_text()) if record.is_file() else None
    return {"_indexed": loads, "instruction_set": chosen, "instruction_set_cap": cap, "build": build}


def packages() -> dict[str, str | None]:
    """Version of each package that is used where it is present; None: not installed."""
    found: dict[str, str | None] = {}
    for name, module in PACKAGES.items():
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "unknown version" if _has_code(module) else None
    return found


def _has_code(module: str) -> bool:
    """Whether a module can be imported; a folder without code of its own does not count."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):  # a package above it is missing or broken
        return False
    return spec is not None and spec.origin is not None


def backends() -> Any:
    """Which implementation each operation will use, and why."""
    from steel_megatron.ops import cpu_products
    from steel_megatron.ops.backends import report
    from steel_megatron.ops.scaled_matmul import support

    return {**report(), **cpu_products.report(), "8-bit matmuls": support()}


def storage() -> Facts:
    """Free space where runs are usually written, and shared memory."""
    places = {"working_folder": os.getcwd(), "temporary": tempfile.gettempdir(), "shared_memory": "/dev/shm"}
    found: Facts = {}
    for name, path in places.items():
        if os.path.isdir(path):
            usage = shutil.disk_usage(path)
            found[name] = {"path": path, "free": usage.free, "total": usage.total}
    return found


def _matrix(topology: str) -> str:
    """The rows of ``nvidia-smi topo -m`` that belong to GPUs, without the columns after them."""
    rows = [line for line in topology.splitlines() if line.startswith("GPU")]
    return "\n".join("\t".join(row.split()[: len(rows) + 1]) for row in rows)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _output(*command: str) -> str:
    """What a command prints; empty when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
