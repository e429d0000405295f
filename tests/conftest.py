"""Settings that hold for every test."""

from __future__ import annotations

import os
import tempfile

from hypothesis import HealthCheck, settings

# Nothing is downloaded, and each of many test processes takes one core.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# What was measured on a developer's machine does not choose the kernels under test.
os.environ["STEEL_KERNEL_TIMES"] = os.devnull

# torch keeps compiled code by its source, and what an imitated processor compiled breaks a whole one's process.
_processor = os.environ.get("ATEN_CPU_CAPABILITY", "own")
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", f"{tempfile.gettempdir()}/steel_inductor_{os.getuid()}_{_processor}")

# Shared machines are slow at times: that must not fail a test.
settings.register_profile("steel", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steel")
