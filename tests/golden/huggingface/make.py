"""Made exports.json beside it, once, with the code of commit 07d5f40 (version 0.1.0).

Usage, with tests/ in PYTHONPATH: python make.py
"""

from __future__ import annotations

import json
from pathlib import Path

from helpers.golden_exports import everything

if __name__ == "__main__":
    Path(__file__).with_name("exports.json").write_text(json.dumps(everything(), indent=1) + "\n")
