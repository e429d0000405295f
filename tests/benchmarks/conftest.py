"""The benchmarks are scripts: their folder goes to the end of the path, where it hides nothing."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
