"""Megatron-LM's preprocess_data.py by name and flags; the same as ``steel tokenize``."""

from __future__ import annotations

import sys

from steel_megatron.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["tokenize", *sys.argv[1:]]))
