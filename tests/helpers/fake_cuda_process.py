"""Programs on the fake CUDA device: processes of their own, since it has to be there before torch is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
MISSING = None
if torch.version.cuda is not None:
    MISSING = "the fake CUDA device needs a CPU build of torch"
elif shutil.which(os.environ.get("CXX", "g++")) is None:
    MISSING = "the fake CUDA device is built with g++, which is not here"

needs_fake_cuda = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


def run_python(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs Python with the package and the tools on its path; output is captured.

    Raises:
        AssertionError: it failed; with the end of what it printed.
    """
    paths = [str(ROOT), str(ROOT / "tools"), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done
